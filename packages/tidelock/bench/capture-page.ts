/** Page script of the capture bench: the same writes through a native and a wrapped factory. */
import { wrapFactory } from "../src/capture/index.ts";

/** How the documents of a round are written. */
export interface Workload {
  /** Number of the first document: rounds insert, they do not overwrite. */
  readonly from: number;
  /** Documents written in a round. */
  readonly documents: number;
  /** Documents per transaction; each transaction is awaited before the next starts. */
  readonly perTransaction: number;
}

export type Side = "native" | "wrapped";

const NAMES: Record<Side, string> = { native: "bench-native", wrapped: "bench-wrapped" };

const wrapped = wrapFactory(indexedDB, { database: NAMES.wrapped, stores: ["documents"], onCaptured: () => undefined });

const connections = new Map<Side, IDBDatabase>();

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("request failed"));
  });
}

function completed(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new Error("aborted"));
  });
}

async function connection(side: Side): Promise<IDBDatabase> {
  const known = connections.get(side);
  if (known !== undefined) return known;
  const request = (side === "native" ? indexedDB : wrapped).open(NAMES[side], 1);
  request.onupgradeneeded = () => void request.result.createObjectStore("documents", { keyPath: "id" });
  const database = await done(request);
  connections.set(side, database);
  return database;
}

/** A document of about 250 bytes of JSON. */
function documentOf(number: number): object {
  return {
    id: `document-${number}`,
    title: `Card number ${number}`,
    list: `list-${number % 17}`,
    labels: ["red", "urgent", `label-${number % 5}`],
    done: number % 2 === 0,
    count: number,
    text: "Sphinx of black quartz, judge my vow. The five boxing wizards jump quickly. ".slice(0, 70 + (number % 7)),
  };
}

async function round(side: Side, { from, documents, perTransaction }: Workload): Promise<void> {
  const database = await connection(side);
  for (let first = from; first < from + documents; first += perTransaction) {
    const transaction = database.transaction("documents", "readwrite", { durability: "relaxed" });
    const store = transaction.objectStore("documents");
    for (let number = first; number < first + perTransaction; number++) store.put(documentOf(number));
    await completed(transaction);
  }
}

declare global {
  var bench: { round: typeof round };
}

globalThis.bench = { round };
