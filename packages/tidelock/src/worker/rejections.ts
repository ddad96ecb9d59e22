/** The list of rejected mutations: reading it, and putting entries back or away. */
import { HIDDEN_STORES, outboxName } from "../capture/names.ts";
import type { OutboxRecord } from "../capture/types.ts";
import type { RejectedEntry } from "../types.ts";
import type { StoredRejection } from "./task.ts";

const REJECTED = HIDDEN_STORES[3]?.name ?? "";

/** Every entry, the oldest first. */
export function readRejections(database: IDBDatabase): Promise<RejectedEntry[]> {
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(REJECTED, "readonly");
    const store = transaction.objectStore(REJECTED);
    const keys = store.getAllKeys();
    const records = store.getAll() as IDBRequest<StoredRejection[]>;
    transaction.onabort = () => reject(transaction.error ?? new Error("the list of rejected mutations cannot be read"));
    transaction.oncomplete = () => {
      resolve(records.result.map((record, index) => ({ id: keys.result[index] as number, ...withoutFlags(record) })));
    };
  });
}

function withoutFlags({ code, message, at, documents }: StoredRejection): Omit<RejectedEntry, "id"> {
  return { code, message, at, documents: documents.map(({ store, key, mine }) => ({ store, key, mine })) };
}

/**
 * Takes an entry off the list; with `again` its values are written to the application's rows and marked as any write is,
 * all in one transaction. Whether there was such an entry.
 */
export function retryRejection(
  database: IDBDatabase,
  stores: readonly string[],
  id: number,
  again: boolean,
): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const present = stores.filter((store) => database.objectStoreNames.contains(store));
    const transaction = database.transaction([REJECTED, ...present, ...present.map(outboxName)], "readwrite", {
      durability: "strict",
    });
    let found = false;
    transaction.oncomplete = () => resolve(found);
    transaction.onabort = () => reject(transaction.error ?? new Error("the rejected mutation cannot be written again"));
    const list = transaction.objectStore(REJECTED);
    const request = list.get(id) as IDBRequest<StoredRejection | undefined>;
    request.onsuccess = () => {
      if (request.result === undefined) return;
      found = true;
      list.delete(id);
      if (again) writeAgain(transaction, request.result, present);
    };
  });
}

function writeAgain(transaction: IDBTransaction, rejection: StoredRejection, stores: readonly string[]): void {
  const t = `retry-${crypto.randomUUID()}`;
  const marks = new Map<string, IDBValidKey[]>();
  for (const { store, key, mine, deleted } of rejection.documents) {
    if (!stores.includes(store)) continue;
    const rows = transaction.objectStore(store);
    if (deleted) rows.delete(key);
    else if (rows.keyPath === null) rows.put(mine, key);
    else rows.put(mine);
    marks.set(store, [...(marks.get(store) ?? []), key]);
  }
  for (const [store, k] of marks) {
    transaction.objectStore(outboxName(store)).add({ t, k, r: [], a: Date.now() } satisfies OutboxRecord);
  }
}
