/** The differential capture fuzz: random transactions on a wrapped and on a native database. */
import { outboxName, wrapFactory } from "../../../src/capture/index.ts";
import type { CapturedKeys, OutboxRecord } from "../../../src/capture/index.ts";
import { STORES, createStores, programFrom, randomFrom, run } from "./capture-programs.ts";
import type { Program } from "./capture-programs.ts";
import { done, open, show } from "./kit.ts";

const SYNCED = STORES.filter((store) => store !== "local");

/** Rows by store, then by the text of their key. */
type Content = ReadonlyMap<string, ReadonlyMap<string, { key: IDBValidKey; value: string }>>;

export interface FuzzReport {
  transactions: number;
  aborted: number;
  changedKeys: number;
  markedKeys: number;
  ranges: number;
  records: number;
}

async function contentOf(database: IDBDatabase): Promise<Content> {
  const transaction = database.transaction(STORES);
  const stores = STORES.map(async (name) => {
    const store = transaction.objectStore(name);
    const [keys, values] = await Promise.all([done(store.getAllKeys()), done(store.getAll())]);
    const rows = keys.map((key, index) => [show(key), { key, value: show(values[index]) }] as const);
    return [name, new Map(rows)] as const;
  });
  return new Map(await Promise.all(stores));
}

function changedKeys(before: Content, after: Content, store: string): IDBValidKey[] {
  const [old, fresh] = [before.get(store), after.get(store)];
  if (old === undefined || fresh === undefined) throw new Error(`no content of ${store}`);
  const changed: IDBValidKey[] = [];
  for (const [text, row] of fresh) if (old.get(text)?.value !== row.value) changed.push(row.key);
  for (const [text, row] of old) if (!fresh.has(text)) changed.push(row.key);
  return changed;
}

function covers(record: OutboxRecord, key: IDBValidKey): boolean {
  if (record.k.some((marked) => indexedDB.cmp(marked, key) === 0)) return true;
  return record.r.some((range) => {
    if (range === null) return true;
    const [lower, upper, lowerOpen, upperOpen] = range;
    const above = lower === undefined ? 1 : indexedDB.cmp(key, lower);
    const below = upper === undefined ? 1 : indexedDB.cmp(upper, key);
    return (above > 0 || (above === 0 && !lowerOpen)) && (below > 0 || (below === 0 && !upperOpen));
  });
}

/** Takes the records out of every outbox. */
async function drain(database: IDBDatabase): Promise<Map<string, OutboxRecord[]>> {
  const transaction = database.transaction(SYNCED.map(outboxName), "readwrite");
  const taken = SYNCED.map(async (name) => {
    const store = transaction.objectStore(outboxName(name));
    const records = (await done(store.getAll())) as OutboxRecord[];
    store.clear();
    return [name, records] as const;
  });
  return new Map(await Promise.all(taken));
}

class Fuzz {
  readonly report: FuzzReport = { transactions: 0, aborted: 0, changedKeys: 0, markedKeys: 0, ranges: 0, records: 0 };
  readonly #announced: ReadonlyMap<string, CapturedKeys>[] = [];
  readonly #ids = new Set<string>();

  async run(seed: number, count: number): Promise<void> {
    window.addEventListener("error", (event) => {
      if (event.error instanceof RangeError) event.preventDefault();
    });
    const random = randomFrom(seed);
    const [name, nativeName] = [`fuzz-${seed}`, `fuzz-${seed}-native`];
    const onCaptured = (stores: ReadonlyMap<string, CapturedKeys>): void => void this.#announced.push(stores);
    const factory = wrapFactory(indexedDB, { database: name, stores: SYNCED, onCaptured });
    let wrapped = await open(factory, name, 1, createStores);
    const native = await open(indexedDB, nativeName, 1, createStores);
    const spy = await open(indexedDB, name);
    let before = await contentOf(spy);
    for (let index = 0; index < count; index++) {
      const program = programFrom(random);
      const context = `transaction ${index} of seed ${seed}`;
      try {
        before = await this.#compare(program, wrapped, native, spy, before);
      } catch (error) {
        throw new Error(`${context}: ${String(error)}\n${JSON.stringify(program)}`, { cause: error });
      }
      if (index % 250 === 249) {
        wrapped.close();
        wrapped = await open(factory, name, index % 500 === 499 ? 1 : undefined);
      }
    }
  }

  async #compare(
    program: Program,
    wrapped: IDBDatabase,
    native: IDBDatabase,
    spy: IDBDatabase,
    before: Content,
  ): Promise<Content> {
    this.#announced.length = 0;
    const log = await run(wrapped, program);
    const announced = this.#announced.slice();
    const expected = await run(native, program);
    if (show(log) !== show(expected)) throw new Error(`observed ${show(log)}, natively ${show(expected)}`);
    const [after, nativeAfter, records] = [await contentOf(spy), await contentOf(native), await drain(spy)];
    if (show([...after]) !== show([...nativeAfter])) throw new Error("the content differs from the native one");
    const aborted = log.some((line) => line.startsWith("ended abort"));
    this.report.transactions++;
    if (aborted) this.report.aborted++;
    this.#checkMarks(before, after, records, aborted);
    this.#checkAnnouncement(announced, records);
    return after;
  }

  #checkMarks(before: Content, after: Content, records: Map<string, OutboxRecord[]>, aborted: boolean): void {
    const ids = new Set<string>();
    for (const [store, marks] of records) {
      if (aborted && marks.length > 0) throw new Error(`an aborted transaction marked ${store}`);
      for (const key of changedKeys(before, after, store)) {
        this.report.changedKeys++;
        if (!marks.some((record) => covers(record, key))) throw new Error(`missed ${show(key)} of ${store}`);
      }
      for (const { t, k, r } of marks) {
        ids.add(t);
        this.report.records++;
        this.report.markedKeys += k.length;
        this.report.ranges += r.length;
      }
    }
    if (ids.size > 1) throw new Error(`one transaction has ids ${[...ids].join()}`);
    for (const id of ids) {
      if (this.#ids.has(id)) throw new Error(`id ${id} was used before`);
      this.#ids.add(id);
    }
  }

  /** Announced once, at completion, with what the outboxes say. */
  #checkAnnouncement(
    announced: readonly ReadonlyMap<string, CapturedKeys>[],
    records: Map<string, OutboxRecord[]>,
  ): void {
    const marked = [...records].filter(([, marks]) => marks.length > 0);
    if (announced.length !== (marked.length > 0 ? 1 : 0)) throw new Error(`announced ${announced.length} times`);
    const expected = marked.map(([store, marks]) => {
      const keys = marks.some(({ r }) => r.length > 0) ? null : marks.flatMap(({ k }) => k);
      return [store, { keys }] as const;
    });
    const sorted = [...(announced[0] ?? [])].sort(
      ([a], [b]) => SYNCED.indexOf(a as "plain") - SYNCED.indexOf(b as "plain"),
    );
    if (show(sorted) !== show(expected)) throw new Error(`announced ${show(sorted)}, marked ${show(expected)}`);
  }
}

declare global {
  var fuzz: (seed: number, count: number) => Promise<FuzzReport>;
}

globalThis.fuzz = async (seed, count) => {
  const fuzz = new Fuzz();
  await fuzz.run(seed, count);
  return fuzz.report;
};
