/** Small helpers for page scripts: promises over raw IndexedDB, assertions, and a look at the hidden stores. */
import type { CaptureConfig, CapturedKeys, OutboxRecord } from "../../../src/capture/index.ts";
import { outboxName, wrapFactory } from "../../../src/capture/index.ts";

export function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.addEventListener("success", () => resolve(request.result));
    request.addEventListener("error", () => reject(request.error ?? new Error("no error")));
  });
}

export function completed(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.addEventListener("complete", () => resolve());
    transaction.addEventListener("abort", () => reject(transaction.error ?? new Error("aborted")));
  });
}

/** Like `completed`, but an abort is an outcome too. */
export function ended(transaction: IDBTransaction): Promise<"complete" | "abort"> {
  return new Promise((resolve) => {
    transaction.addEventListener("complete", () => resolve("complete"));
    transaction.addEventListener("abort", () => resolve("abort"));
  });
}

export type Upgrade = (database: IDBDatabase, event: IDBVersionChangeEvent, transaction: IDBTransaction) => void;

export function open(factory: IDBFactory, name: string, version?: number, upgrade?: Upgrade): Promise<IDBDatabase> {
  const request = version === undefined ? factory.open(name) : factory.open(name, version);
  request.onupgradeneeded = (event) => {
    if (request.transaction !== null) upgrade?.(request.result, event, request.transaction);
  };
  return done(request);
}

/** Opens, uses and closes a database natively, so that hidden stores show. */
export async function natively<T>(name: string, use: (database: IDBDatabase) => Promise<T> | T): Promise<T> {
  const database = await open(indexedDB, name);
  try {
    return await use(database);
  } finally {
    database.close();
  }
}

export function outbox(name: string, store: string): Promise<OutboxRecord[]> {
  return natively(name, (database) => readOutbox(database, store));
}

export function readOutbox(database: IDBDatabase, store: string): Promise<OutboxRecord[]> {
  return done(database.transaction(outboxName(store)).objectStore(outboxName(store)).getAll()) as Promise<
    OutboxRecord[]
  >;
}

export function nativeStores(name: string): Promise<string[]> {
  return natively(name, (database) => [...database.objectStoreNames]);
}

/** A wrapped factory for one database, with a record of its callbacks. */
export interface Setup {
  readonly name: string;
  readonly factory: IDBFactory;
  readonly captured: ReadonlyMap<string, CapturedKeys>[];
  readonly calls: string[];
}

let count = 0;

export function setup(stores: readonly string[], name = `case-${Date.now()}-${count++}`): Setup {
  const captured: ReadonlyMap<string, CapturedKeys>[] = [];
  const calls: string[] = [];
  const config: CaptureConfig = {
    database: name,
    stores,
    onCaptured: (marks) => captured.push(marks),
    onOpened: (opened) => calls.push(`opened ${opened}`),
    onVersionChange: () => calls.push("versionchange"),
    onDeleted: () => calls.push("deleted"),
  };
  return { name, factory: wrapFactory(indexedDB, config), captured, calls };
}

export function check(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(message);
}

export function equal(actual: unknown, expected: unknown, message = "value"): void {
  const [a, b] = [show(actual), show(expected)];
  if (a !== b) throw new Error(`${message}: ${a}, expected ${b}`);
}

/** Text that is equal exactly for equal values: keys, records and rows. */
export function show(value: unknown): string {
  if (value === undefined) return "undefined";
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "number") return Object.is(value, -0) ? "0" : String(value);
  if (typeof value === "string") return JSON.stringify(value);
  if (value instanceof Date) return `Date(${value.getTime()})`;
  if (value instanceof ArrayBuffer) return `Bytes(${new Uint8Array(value).join()})`;
  if (ArrayBuffer.isView(value))
    return `Bytes(${new Uint8Array(value.buffer, value.byteOffset, value.byteLength).join()})`;
  if (Array.isArray(value)) return `[${value.map(show).join()}]`;
  if (value instanceof Map) return `Map${show([...value])}`;
  if (typeof value === "object") {
    const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([key, item]) => `${key}:${show(item)}`).join()}}`;
  }
  return typeof value;
}

/** What a call throws, by name; "nothing" when it does not throw. */
export function thrown(run: () => unknown): string {
  try {
    run();
    return "nothing";
  } catch (error) {
    return error instanceof Error || error instanceof DOMException ? `${error.name}` : `${String(error)}`;
  }
}

/** A turn of the event loop: tasks queued before have run. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

export type Cases = Readonly<Record<string, () => Promise<void>>>;

declare global {
  var cases: Cases;
}
