/** Page script of the crash test: writes without pause, and examines what a crash has left. */
import { lossOf, outboxName, wrapFactory } from "../../../src/capture/index.ts";
import type { OutboxRecord } from "../../../src/capture/index.ts";
import { completed, done, open, readOutbox } from "./kit.ts";

const NAME = "crash";
const STORES = ["a", "b"] as const;

/** What is wrong with the database, and how much it holds. */
export interface Examination {
  /** Why the browser says that it deleted the database, if it did. */
  readonly wiped: string | undefined;
  readonly rows: number;
  readonly transactions: number;
  readonly faults: string[];
}

declare global {
  var crash: {
    /** Keys of all rows whose transaction has completed. */
    acknowledged: string[];
    /** Opens the database, goes on writing to it, and returns why the browser says that it deleted what was there. */
    write: (run: number) => Promise<string | undefined>;
    examine: (acknowledged: readonly string[]) => Promise<Examination>;
  };
}

const factory = wrapFactory(indexedDB, { database: NAME, stores: STORES, onCaptured: () => undefined });

async function write(run: number): Promise<string | undefined> {
  let wiped: string | undefined;
  const database = await open(factory, NAME, 1, (created, event) => {
    wiped = lossOf(event) ?? undefined;
    STORES.forEach((store) => created.createObjectStore(store));
  });
  void writeOn(database, run);
  return wiped;
}

async function writeOn(database: IDBDatabase, run: number): Promise<void> {
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
  let wiped: string | undefined;
  const database = await open(indexedDB, NAME, undefined, (_, event) => (wiped = lossOf(event) ?? undefined));
  try {
    if (wiped !== undefined) return { wiped, rows: 0, transactions: 0, faults: [] };
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
    return { wiped, rows: rows[0]?.size ?? 0, transactions: first?.size ?? 0, faults };
  } finally {
    database.close();
    // The opening has made it anew, without the stores.
    if (wiped !== undefined) await done(indexedDB.deleteDatabase(NAME));
  }
}

globalThis.crash = { acknowledged: [], write, examine };
