/** Live queries: a query runs again when something that it reads changed, one run at a time. */
import type { ChangeEvent, ObserveQuery } from "../types.ts";

export class Observer<T> {
  private readonly query: ObserveQuery;
  private readonly database: () => Promise<IDBDatabase>;
  private readonly listener: (result: T[]) => void;
  private readonly failed: (error: unknown) => void;
  private running = false;
  private stale = false;
  private stopped = false;

  constructor(
    query: ObserveQuery,
    database: () => Promise<IDBDatabase>,
    listener: (result: T[]) => void,
    failed: (error: unknown) => void,
  ) {
    this.query = query;
    this.database = database;
    this.listener = listener;
    this.failed = failed;
    this.run();
  }

  /** Rows changed. */
  notice(change: ChangeEvent): void {
    if (this.touches(change)) this.run();
  }

  /** Runs again, whatever changed. */
  refresh(): void {
    this.run();
  }

  stop(): void {
    this.stopped = true;
  }

  /** Whether the change may alter the result. An index says nothing about where a row was, so every change of its store counts. */
  private touches({ store, keys }: ChangeEvent): boolean {
    const { key, range, index } = this.query;
    if (store !== this.query.store) return false;
    if (keys === null || index !== undefined) return true;
    if (key !== undefined) return keys.some((changed) => indexedDB.cmp(changed, key) === 0);
    return range === undefined || keys.some((changed) => range.includes(changed));
  }

  private run(): void {
    if (this.stopped) return;
    if (this.running) {
      this.stale = true;
      return;
    }
    this.running = true;
    this.stale = false;
    this.database()
      .then((database) => read<T>(database, this.query))
      .then(
        (result) => {
          if (!this.stopped) this.listener(result);
        },
        (error: unknown) => {
          if (!this.stopped) this.failed(error);
        },
      )
      .finally(() => {
        this.running = false;
        if (this.stale) this.run();
      });
  }
}

function read<T>(database: IDBDatabase, query: ObserveQuery): Promise<T[]> {
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(query.store, "readonly");
    const store = transaction.objectStore(query.store);
    const source = query.index === undefined ? store : store.index(query.index);
    const range = query.key !== undefined ? IDBKeyRange.only(query.key) : (query.range ?? null);
    transaction.onabort = () => reject(transaction.error ?? new Error(`${query.store} cannot be read`));
    const { direction, limit } = query;
    if (direction === undefined || direction === "next") {
      const all = source.getAll(range, limit);
      all.onsuccess = () => resolve(all.result as T[]);
      return;
    }
    const rows: T[] = [];
    const cursors = source.openCursor(range, direction);
    cursors.onsuccess = () => {
      const cursor = cursors.result;
      if (cursor === null || (limit !== undefined && rows.length >= limit)) return resolve(rows);
      rows.push(cursor.value as T);
      cursor.continue();
    };
  });
}
