/** Page script of the crash test: writes without pause, and examines what a crash has left. */
import { outboxName, wrapFactory } from "../../../src/capture/index.ts";
import type { OutboxRecord } from "../../../src/capture/index.ts";
import { completed, done, natively, open, readOutbox } from "./kit.ts";

const NAME = "crash";
const STORES = ["a", "b"] as const;

/** What is wrong with the database, and how much it holds. */
export interface Examination {
  readonly rows: number;
  readonly transactions: number;
  readonly faults: string[];
}

declare global {
  var crash: {
    /** Keys of all rows whose transaction has completed. */
    acknowledged: string[];
    write: (run: number) => void;
    examine: (acknowledged: readonly string[]) => Promise<Examination>;
  };
}

const factory = wrapFactory(indexedDB, { database: NAME, stores: STORES, onCaptured: () => undefined });

async function write(run: number): Promise<void> {
  const database = await open(factory, NAME, 1, (created) =>
    STORES.forEach((store) => created.createObjectStore(store)),
  );
  for (let count = 0; ; count++) {
    const transaction = database.transaction(STORES, "readwrite");
    const keys = Array.from({ length: 1 + (count % 7) }, (_, index) => `${run}-${count}-${index}`);
    // Large enough that a transaction takes several disk writes.
    for (const key of keys) for (const store of STORES) transaction.objectStore(store).put("x".repeat(2000), key);
    if (count % 5 === 0) transaction.abort();
    const committed = await completed(transaction).then(
      () => true,
      () => false,
    );
    if (committed) globalThis.crash.acknowledged.push(...keys);
  }
}

async function examine(acknowledged: readonly string[]): Promise<Examination> {
  return natively(NAME, async (database) => {
    const faults: string[] = [];
    const rows: Set<IDBValidKey>[] = [];
    const ids: Set<string>[] = [];
    for (const store of STORES) {
      const keys = new Set(await done(database.transaction(store).objectStore(store).getAllKeys()));
      const records: OutboxRecord[] = await readOutbox(database, store);
      const marked = new Set(records.flatMap(({ k }) => k));
      for (const key of keys) if (!marked.has(key)) faults.push(`row ${String(key)} of ${store} has no mark`);
      for (const key of marked) if (!keys.has(key)) faults.push(`mark ${String(key)} of ${store} has no row`);
      for (const key of acknowledged) if (!keys.has(key)) faults.push(`acknowledged row ${key} of ${store} is lost`);
      rows.push(keys);
      ids.push(new Set(records.map(({ t }) => t)));
    }
    const [first, second] = ids;
    for (const id of first ?? []) if (!second?.has(id)) faults.push(`transaction ${id} is torn: b has no mark of it`);
    for (const id of second ?? []) if (!first?.has(id)) faults.push(`transaction ${id} is torn: a has no mark of it`);
    if (!database.objectStoreNames.contains(outboxName("a"))) faults.push("no outbox");
    return { rows: rows[0]?.size ?? 0, transactions: first?.size ?? 0, faults };
  });
}

globalThis.crash = { acknowledged: [], write: (run) => void write(run), examine };
