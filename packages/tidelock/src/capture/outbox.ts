/**
 * What a transaction has changed and not yet marked, and the writing of the marks.
 *
 * Invariant: a mark is written in the transaction of the change, so both are durable or neither is.
 *
 * Marks are gathered in memory and written at two times. Changes that a transaction makes in one go are marked in the
 * microtask after them if their keys are known: waiting for their results would cost a round trip to the database. All
 * others are marked when the last request that changes something has succeeded, and the application's listeners for it
 * have run without a further change. So a transaction has one or two records per store, however it is written.
 */
import { natives } from "./natives.ts";
import { outboxName } from "./names.ts";
import type { CaptureConfig, CapturedKeys, MarkedRange, OutboxRecord } from "./types.ts";

/** A connection of the captured database. */
export interface DatabaseState {
  readonly config: CaptureConfig;
  readonly database: IDBDatabase;
  /** The stores that have an outbox. Changes only inside an upgrade. */
  readonly tracked: Set<string>;
  /** The version change transaction of this connection, if it had one. */
  upgrade: TransactionState | null;
  /** Tracked stores deleted in that transaction. */
  readonly deleted: Set<string>;
}

/** A transaction that may change captured stores. */
export interface TransactionState {
  readonly database: DatabaseState;
  readonly transaction: IDBTransaction;
  /** Identity of the transaction in its outbox records. */
  readonly id: string;
  /** Stores with changes that no outbox record names yet. */
  readonly unmarked: Set<StoreState>;
  /** What the outbox records of this transaction name. */
  readonly marked: Map<string, IDBValidKey[] | null>;
  /** Requests of the capture layer itself, and what to do with their result. */
  readonly hidden: Map<IDBRequest, ((result: unknown) => void) | null>;
  /** Cursor requests whose cursor is not dressed yet. */
  readonly cursors: Map<IDBRequest, StoreState>;
  /** Requests that were marked by the key they should get, before they had it. */
  readonly assumed: { readonly store: StoreState; readonly request: IDBRequest; readonly expected: string | number }[];
  /** Whether the first changes can still be marked ahead of their results. */
  early: "possible" | "due" | "past";
  /** The request whose success confirms what is assumed and marks what is not; `null` when there is nothing to do. */
  last: IDBRequest | null;
  /** The request of the cursor in use. While it is pending, more changes are likely. */
  iteration: IDBRequest | null;
}

/** An object store within a transaction. */
export interface StoreState {
  readonly transaction: TransactionState;
  name: string;
  /** The steps of its key path, if that is a single path; `null` otherwise. */
  readonly keyPath: readonly string[] | null;
  /** Keys known when the request was made. */
  keys: IDBValidKey[];
  /** Requests whose result is the key, and what the key should be, as far as the value told. */
  requests: { readonly request: IDBRequest; readonly expected: string | number | undefined }[];
  ranges: MarkedRange[];
}

/** Transactions in flight. The objects are native: what the layer knows about them is kept beside them. */
export const transactionStates: WeakMap<IDBTransaction, TransactionState> = new WeakMap();

let idPrefix: string | undefined;
let idCount = 0;

/** Unique over all pages and time: random bits of this realm and a count, in the order in which the transactions were made. */
function transactionId(): string {
  idPrefix ??= Array.from(crypto.getRandomValues(new Uint32Array(3)), (part) => part.toString(36)).join("");
  return `${idPrefix}-${(idCount++).toString(36).padStart(8, "0")}`;
}

export function trackTransaction(database: DatabaseState, transaction: IDBTransaction): TransactionState {
  const state: TransactionState = {
    database,
    transaction,
    id: transactionId(),
    unmarked: new Set(),
    marked: new Map(),
    hidden: new Map(),
    cursors: new Map(),
    assumed: [],
    early: "possible",
    last: null,
    iteration: null,
  };
  transactionStates.set(transaction, state);
  return state;
}

function touch(store: StoreState, request: IDBRequest, iteration: IDBRequest | null): void {
  const state = store.transaction;
  state.unmarked.add(store);
  state.last = request;
  if (iteration !== null) state.iteration = iteration;
  if (state.early !== "possible") return;
  state.early = "due";
  queueMicrotask(() => markEarly(state));
}

/** Marks the first changes if all keys are known or told by the values. A transaction is active in its microtasks. */
function markEarly(state: TransactionState): void {
  state.early = "past";
  const { last } = state;
  if (last === null || state.iteration !== null) return;
  for (const { requests } of state.unmarked) if (requests.some(({ expected }) => expected === undefined)) return;
  writeMarks(state);
  if (state.last === null && state.assumed.length > 0) state.last = last;
}

/** Compares assumed keys with the results, which must be there, and notes the keys that came out otherwise. */
export function confirmAssumed(state: TransactionState): void {
  const { error, result } = natives().request;
  for (const { store, request, expected } of state.assumed.splice(0)) {
    if (error(request) !== null || Object.is(result(request), expected)) continue;
    noteKey(store, state.last ?? request, result(request) as IDBValidKey, null);
  }
}

function isTracked(store: StoreState): boolean {
  return store.transaction.database.tracked.has(store.name);
}

/** Notes a change whose key is known; `iteration` is the request of the cursor that made it, if one did. */
export function noteKey(store: StoreState, request: IDBRequest, key: IDBValidKey, iteration: IDBRequest | null): void {
  if (!isTracked(store)) return;
  store.keys.push(key);
  touch(store, request, iteration);
}

/** Notes a change whose key is the result of the request; `expected` is what it should be, as far as the value tells. */
export function noteResult(
  store: StoreState,
  request: IDBRequest,
  expected: string | number | undefined,
  iteration: IDBRequest | null,
): void {
  if (!isTracked(store)) return;
  store.requests.push({ request, expected });
  touch(store, request, iteration);
}

export function noteRange(
  store: StoreState,
  request: IDBRequest,
  range: MarkedRange,
  iteration: IDBRequest | null,
): void {
  if (!isTracked(store)) return;
  store.ranges.push(range);
  touch(store, request, iteration);
}

/**
 * Called when the application's listeners for `request` have run: writes the marks unless a later request will.
 * A pending cursor step is such a request, because its listener may update or delete again.
 */
export function settle(state: TransactionState, request: IDBRequest): void {
  if (state.last !== request) return;
  const { iteration } = state;
  if (iteration !== null && natives().request.readyState(iteration) === "pending") state.last = iteration;
  else writeMarks(state);
}

/**
 * Writes what is unmarked into the outboxes. The transaction must be active; when it is not (the application got past
 * the layer to the native `commit()`), the changes stay unmarked and `finish` deals with them.
 */
export function writeMarks(state: TransactionState): void {
  for (const store of state.unmarked) {
    const { keys, ranges } = gather(store);
    if ((keys.length > 0 || ranges.length > 0) && isTracked(store)) {
      const record: OutboxRecord = { t: state.id, k: keys, r: ranges, a: Date.now() };
      if (!addRecord(state, store.name, record)) return;
      remember(state, store.name, record);
    }
    forget(store);
  }
  state.last = null;
}

/** Adds a record to the outbox of a store; `false` when the transaction no longer takes requests. */
export function addRecord(state: TransactionState, store: string, record: OutboxRecord): boolean {
  const native = natives();
  try {
    const outbox = native.transaction.objectStore.call(state.transaction, outboxName(store));
    state.hidden.set(native.store.add.call(outbox, record), null);
    return true;
  } catch {
    return false;
  }
}

/** Drops what is unmarked in a store: its marks are written or its outbox is gone. */
export function forget(store: StoreState): void {
  store.transaction.unmarked.delete(store);
  if (store.keys.length > 0) store.keys = [];
  if (store.requests.length > 0) store.requests = [];
  if (store.ranges.length > 0) store.ranges = [];
}

/**
 * The keys and ranges a store has unmarked. A request that is pending and whose key the value does not tell, which
 * happens at an explicit `commit()` only, marks the whole store.
 */
function gather(store: StoreState): { keys: IDBValidKey[]; ranges: MarkedRange[] } {
  const { readyState, error, result } = natives().request;
  const keys = store.keys.slice();
  const ranges = store.ranges.slice();
  let unknown = false;
  for (const { request, expected } of store.requests) {
    if (readyState(request) === "done") {
      if (error(request) === null) keys.push(result(request) as IDBValidKey);
    } else if (expected !== undefined) {
      keys.push(expected);
      store.transaction.assumed.push({ store, request, expected });
    } else unknown = true;
  }
  if (unknown) ranges.push(null);
  return { keys: keys.length > 1 ? [...new Set(keys)] : keys, ranges };
}

function remember(state: TransactionState, store: string, record: OutboxRecord): void {
  const known = state.marked.get(store);
  if (known === null || record.r.length > 0) state.marked.set(store, null);
  else state.marked.set(store, known === undefined ? [...record.k] : known.concat(record.k));
}

/**
 * Called when a transaction has completed: tells the application's owner what was captured. Changes can be unmarked
 * here only if the application went around the layer (`Event.prototype.stopImmediatePropagation.call(event)`, the
 * native `commit()`) or a getter of a value changed its key while it was copied: they are marked in a transaction of
 * their own, the best that can still be done.
 */
export function finish(state: TransactionState): void {
  confirmAssumed(state);
  if (state.unmarked.size > 0) markLate(state);
  else announce(state);
}

function announce(state: TransactionState): void {
  if (state.marked.size === 0) return;
  const stores = new Map<string, CapturedKeys>();
  for (const [store, keys] of state.marked) stores.set(store, { keys });
  guarded(() => state.database.config.onCaptured(stores));
}

function markLate(state: TransactionState): void {
  const { config, database } = state.database;
  const outboxes = [...state.unmarked].filter(isTracked).map((store) => outboxName(store.name));
  if (outboxes.length === 0) return announce(state);
  guarded(() => {
    const transaction = natives().database.transaction.call(database, outboxes, "readwrite");
    const late: TransactionState = { ...state, transaction, assumed: [] };
    transactionStates.set(transaction, late);
    writeMarks(late);
    // `writeMarks` empties the shared set, so the completion of this transaction announces.
    if (late.unmarked.size > 0) throw new Error(`changes of database ${config.database} could not be marked`);
  });
}

/** Runs a callback of the package's owner: its errors are reported and never reach the application's transaction. */
export function guarded(run: () => void): void {
  try {
    run();
  } catch (error) {
    reportError(error);
  }
}
