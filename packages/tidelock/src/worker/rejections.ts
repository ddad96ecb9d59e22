/** The list of rejected mutations: reading it, and putting entries back or away. */
import { HIDDEN_STORES, outboxName } from "../capture/names.ts";
import type { OutboxRecord } from "../capture/types.ts";
import type { RejectedEntry } from "../types.ts";
import type { StoredRejection } from "./task.ts";
import { completed } from "./transaction.ts";

const REJECTED = HIDDEN_STORES[3]?.name ?? "";

/** Every entry, the oldest first. */
export function readRejections(database: IDBDatabase): Promise<RejectedEntry[]> {
  const transaction = database.transaction(REJECTED, "readonly");
  const store = transaction.objectStore(REJECTED);
  const keys = store.getAllKeys();
  const records = store.getAll() as IDBRequest<StoredRejection[]>;
  return completed(transaction, "the list of rejected mutations cannot be read", () =>
    records.result.map((record, index) => ({ id: keys.result[index] as number, ...withoutFlags(record) })),
  );
}

function withoutFlags({ code, message, at, documents }: StoredRejection): Omit<RejectedEntry, "id"> {
  return { code, message, at, documents: documents.map(({ store, key, mine }) => ({ store, key, mine })) };
}

/**
 * Takes an entry off the list; with `again` its values are written to the application's rows and marked as any write is,
 * all in one transaction. The keys written, by store; `null` when there was no such entry.
 */
export async function retryRejection(
  database: IDBDatabase,
  stores: readonly string[],
  id: number,
  again: boolean,
): Promise<ReadonlyMap<string, IDBValidKey[]> | null> {
  const present = stores.filter((store) => database.objectStoreNames.contains(store));
  const transaction = database.transaction([REJECTED, ...present, ...present.map(outboxName)], "readwrite", {
    durability: "strict",
  });
  let written: ReadonlyMap<string, IDBValidKey[]> | null = null;
  const list = transaction.objectStore(REJECTED);
  const request = list.get(id) as IDBRequest<StoredRejection | undefined>;
  request.onsuccess = () => {
    if (request.result === undefined) return;
    list.delete(id);
    written = again ? writeAgain(transaction, request.result, present) : new Map();
  };
  return completed(transaction, "the rejected mutation cannot be written again", () => written);
}

function writeAgain(
  transaction: IDBTransaction,
  rejection: StoredRejection,
  stores: readonly string[],
): ReadonlyMap<string, IDBValidKey[]> {
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
  return marks;
}
