/**
 * Dressing: native objects get a prototype between themselves and their native one, whose methods note what is changed.
 * Each override calls the native method first, so that exceptions, their order, and the running of getters are those of
 * the browser. Objects from which no change can be made stay untouched.
 */
import { isEmpty, toDomString } from "./convert.ts";
import { guardConnection } from "./gate.ts";
import { visibleNames } from "./hide.ts";
import { copyKey, inlineKey, rangeOf } from "./keys.ts";
import { ABSENT_STORE, STATE_STORE, applicationVersion, isHidden, outboxName } from "./names.ts";
import { natives } from "./natives.ts";
import { noteKey, noteRange, noteResult, trackTransaction, transactionStates, writeMarks } from "./outbox.ts";
import type { DatabaseState, StoreState, TransactionState } from "./outbox.ts";
import { isAdopted, storeCreated, storeDeleted, storeRenamed, trackedStores } from "./schema.ts";
import type { CaptureConfig } from "./types.ts";

const databaseStates = new WeakMap<IDBDatabase, DatabaseState>();
const storeStates = new WeakMap<IDBObjectStore, StoreState>();
const indexStores = new WeakMap<IDBIndex, StoreState>();
const cursorStores = new WeakMap<IDBCursor, StoreState>();

/** Keys as they were when the application first saw them: a cursor hands out one object, which it could change. */
const primaryKeys = new WeakMap<object, IDBValidKey>();

interface Prototypes {
  readonly database: object;
  readonly transaction: object;
  readonly store: object;
  readonly index: object;
  readonly cursor: object;
  readonly cursorWithValue: object;
}

let prototypes: Prototypes | undefined;

function dress(target: object, kind: keyof Prototypes): void {
  prototypes ??= {
    database: derive(IDBDatabase.prototype, databaseOverrides),
    transaction: derive(IDBTransaction.prototype, transactionOverrides),
    store: derive(IDBObjectStore.prototype, storeOverrides),
    index: derive(IDBIndex.prototype, indexOverrides),
    cursor: derive(IDBCursor.prototype, cursorOverrides),
    cursorWithValue: derive(IDBCursorWithValue.prototype, cursorOverrides),
  };
  Object.setPrototypeOf(target, prototypes[kind]);
}

/** A prototype with the overrides; names, lengths and attributes of the methods are those of the native ones. */
function derive(base: object, overrides: object): object {
  const prototype: object = Object.create(base) as object;
  for (const [name, property] of Object.entries(Object.getOwnPropertyDescriptors(overrides))) {
    if (typeof property.value === "function") {
      const native: unknown = Reflect.get(base, name);
      const length = typeof native === "function" ? native.length : 0;
      Object.defineProperty(property.value, "length", { value: length, configurable: true });
    }
    Object.defineProperty(prototype, name, { ...property, enumerable: true });
  }
  return prototype;
}

/** Dresses a connection of the captured database, which is adopted or in the upgrade that adopts it. */
export function dressDatabase(database: IDBDatabase, config: CaptureConfig): DatabaseState {
  const known = databaseStates.get(database);
  if (known !== undefined) return known;
  const state: DatabaseState = {
    config,
    database,
    tracked: trackedStores(database),
    upgrade: null,
    deleted: new Set(),
  };
  databaseStates.set(database, state);
  guardConnection(state, dressCursor);
  dress(database, "database");
  return state;
}

/** Dresses a transaction that may change captured stores. */
export function dressTransaction(transaction: IDBTransaction, database: DatabaseState): TransactionState {
  dress(transaction, "transaction");
  return trackTransaction(database, transaction);
}

/** Dresses the version change transaction of a connection. */
export function dressUpgrade(transaction: IDBTransaction, database: DatabaseState): TransactionState {
  const state = dressTransaction(transaction, database);
  database.upgrade = state;
  return state;
}

function isUpgrade(state: TransactionState): boolean {
  return state.database.upgrade === state;
}

function dressStore(store: IDBObjectStore, state: TransactionState): IDBObjectStore {
  if (storeStates.has(store)) return store;
  const name = natives().store.name(store);
  if (!isUpgrade(state) && !state.database.tracked.has(name)) return store;
  const path = natives().store.keyPath(store);
  const keyPath = typeof path === "string" && path !== "" ? path.split(".") : null;
  storeStates.set(store, { transaction: state, name, keyPath, keys: [], requests: [], ranges: [] });
  dress(store, "store");
  return store;
}

function dressIndex(index: IDBIndex, owner: IDBObjectStore): IDBIndex {
  const store = storeStates.get(owner);
  if (store === undefined || indexStores.has(index)) return index;
  indexStores.set(index, store);
  dress(index, "index");
  return index;
}

/** The cursor is dressed in the first listener of the first event that shows it. */
function dressCursor(request: IDBRequest, state: TransactionState): void {
  const store = state.cursors.get(request);
  state.cursors.delete(request);
  const cursor = natives().request.result(request);
  if (store === undefined || !(cursor instanceof IDBCursor)) return;
  cursorStores.set(cursor, store);
  state.iteration = request;
  dress(cursor, cursor instanceof IDBCursorWithValue ? "cursorWithValue" : "cursor");
}

function awaitCursor(request: IDBRequest, store: StoreState | undefined): IDBRequest {
  if (store !== undefined) store.transaction.cursors.set(request, store);
  return request;
}

/** A primitive key is the application's argument; any other is read from the request, as the native code copied it. */
function noteWrite(store: StoreState | undefined, request: IDBRequest, value: unknown, key: unknown): void {
  if (store === undefined) return;
  if (typeof key === "string" || typeof key === "number") noteKey(store, request, key, null);
  else noteResult(store, request, store.keyPath === null ? undefined : inlineKey(value, store.keyPath), null);
}

/** Arguments as the application gave them: their number is part of what the native code sees. */
type Arguments<F> = F extends (...args: infer A) => unknown ? A : never;

function visible(name: string): string {
  return isHidden(name) ? ABSENT_STORE : name;
}

const storeOverrides = {
  put(this: IDBObjectStore, ...args: Arguments<IDBObjectStore["put"]>): IDBRequest<IDBValidKey> {
    const request = natives().store.put.apply(this, args);
    noteWrite(storeStates.get(this), request, args[0], args[1]);
    return request;
  },
  add(this: IDBObjectStore, ...args: Arguments<IDBObjectStore["add"]>): IDBRequest<IDBValidKey> {
    const request = natives().store.add.apply(this, args);
    noteWrite(storeStates.get(this), request, args[0], args[1]);
    return request;
  },
  delete(this: IDBObjectStore, ...args: Arguments<IDBObjectStore["delete"]>): IDBRequest<undefined> {
    const request = natives().store.delete.apply(this, args);
    const store = storeStates.get(this);
    if (store === undefined) return request;
    const key = copyKey(args[0]);
    if (key !== undefined) noteKey(store, request, key, null);
    else noteRange(store, request, rangeOf(args[0]), null);
    return request;
  },
  clear(this: IDBObjectStore): IDBRequest<undefined> {
    const request = natives().store.clear.call(this);
    const store = storeStates.get(this);
    if (store !== undefined) noteRange(store, request, null, null);
    return request;
  },
  openCursor(
    this: IDBObjectStore,
    ...args: Arguments<IDBObjectStore["openCursor"]>
  ): IDBRequest<IDBCursorWithValue | null> {
    const request = natives().store.openCursor.apply(this, args);
    awaitCursor(request, storeStates.get(this));
    return request;
  },
  index(this: IDBObjectStore, ...args: Arguments<IDBObjectStore["index"]>): IDBIndex {
    return dressIndex(natives().store.index.apply(this, args), this);
  },
  createIndex(this: IDBObjectStore, ...args: Arguments<IDBObjectStore["createIndex"]>): IDBIndex {
    return dressIndex(natives().store.createIndex.apply(this, args), this);
  },
  get name(): string {
    return natives().store.name(this as unknown as IDBObjectStore);
  },
  set name(value: string) {
    const store = this as unknown as IDBObjectStore;
    const name = toDomString(value);
    // The state store exists, so the native code refuses a hidden name as one that is taken.
    natives().store.rename(store, isHidden(name) ? STATE_STORE : name);
    const state = storeStates.get(store);
    if (state !== undefined && isUpgrade(state.transaction)) storeRenamed(state.transaction, state, name);
  },
};

const indexOverrides = {
  openCursor(this: IDBIndex, ...args: Arguments<IDBIndex["openCursor"]>): IDBRequest<IDBCursorWithValue | null> {
    const request = natives().index.openCursor.apply(this, args);
    awaitCursor(request, indexStores.get(this));
    return request;
  },
};

function pristinePrimaryKey(cursor: IDBCursor): IDBValidKey | undefined {
  const key = natives().cursor.primaryKey(cursor);
  return typeof key === "object" ? (primaryKeys.get(key) ?? copyKey(key)) : key;
}

const cursorOverrides = {
  update(this: IDBCursor, ...args: Arguments<IDBCursor["update"]>): IDBRequest<IDBValidKey> {
    const native = natives();
    const request = native.cursor.update.apply(this, args);
    const store = cursorStores.get(this);
    if (store === undefined) return request;
    const key = native.cursor.primaryKey(this);
    const expected = typeof key === "object" ? undefined : key;
    noteResult(store, request, expected, native.cursor.request(this));
    return request;
  },
  delete(this: IDBCursor): IDBRequest<undefined> {
    const native = natives();
    const request = native.cursor.delete.call(this);
    const store = cursorStores.get(this);
    if (store === undefined) return request;
    const key = pristinePrimaryKey(this);
    if (key !== undefined) noteKey(store, request, key, native.cursor.request(this));
    else noteRange(store, request, null, native.cursor.request(this));
    return request;
  },
  get primaryKey(): IDBValidKey {
    const key = natives().cursor.primaryKey(this as unknown as IDBCursor);
    if (typeof key === "object" && !primaryKeys.has(key)) {
      const copy = copyKey(key);
      if (copy !== undefined) primaryKeys.set(key, copy);
    }
    return key;
  },
};

const transactionOverrides = {
  objectStore(this: IDBTransaction, ...args: Arguments<IDBTransaction["objectStore"]>): IDBObjectStore {
    const native = natives();
    if (isEmpty(args)) return native.transaction.objectStore.apply(this, args);
    const store = native.transaction.objectStore.call(this, visible(toDomString(args[0])));
    const state = transactionStates.get(this);
    return state === undefined ? store : dressStore(store, state);
  },
  commit(this: IDBTransaction): void {
    const state = transactionStates.get(this);
    if (state !== undefined && state.unmarked.size > 0) writeMarks(state);
    natives().transaction.commit.call(this);
  },
  get objectStoreNames(): DOMStringList {
    return visibleNames(natives().transaction.objectStoreNames(this as unknown as IDBTransaction));
  },
};

/** The names as the native code would convert them, without those of hidden stores; the second is set when tracked. */
function scopeOf(storeNames: string | Iterable<string>, state: DatabaseState): { names: string[]; outboxes: string[] } {
  const many = typeof storeNames !== "string" && storeNames != null && Symbol.iterator in Object(storeNames);
  const names = (many ? Array.from(storeNames, toDomString) : [toDomString(storeNames)]).map(visible);
  return { names, outboxes: names.filter((name) => state.tracked.has(name)).map(outboxName) };
}

const databaseOverrides = {
  transaction(this: IDBDatabase, ...args: Arguments<IDBDatabase["transaction"]>): IDBTransaction {
    const native = natives().database;
    const state = databaseStates.get(this);
    if (state === undefined || isEmpty(args)) return native.transaction.apply(this, args);
    const { names, outboxes } = scopeOf(args[0], state);
    const mode = args[1] === undefined ? "readonly" : (toDomString(args[1]) as IDBTransactionMode);
    const captured = mode === "readwrite" && outboxes.length > 0;
    const scope = captured ? names.concat(outboxes) : names;
    const transaction = native.transaction.call(this, scope, mode, args[2]);
    if (captured) dressTransaction(transaction, state);
    return transaction;
  },
  createObjectStore(this: IDBDatabase, ...args: Arguments<IDBDatabase["createObjectStore"]>): IDBObjectStore {
    const native = natives();
    const state = databaseStates.get(this);
    if (state === undefined || isEmpty(args)) return native.database.createObjectStore.apply(this, args);
    const name = toDomString(args[0]);
    // The state store exists, so the native code refuses a hidden name as one that is taken.
    const store = native.database.createObjectStore.call(this, isHidden(name) ? STATE_STORE : name, args[1]);
    if (state.upgrade === null) return store;
    storeCreated(state.upgrade, name);
    return dressStore(store, state.upgrade);
  },
  deleteObjectStore(this: IDBDatabase, ...args: Arguments<IDBDatabase["deleteObjectStore"]>): void {
    const native = natives().database;
    const state = databaseStates.get(this);
    if (state === undefined || isEmpty(args)) return native.deleteObjectStore.apply(this, args);
    const name = visible(toDomString(args[0]));
    native.deleteObjectStore.call(this, name);
    if (state.upgrade !== null) storeDeleted(state.upgrade, name);
  },
  get version(): number {
    const database = this as unknown as IDBDatabase;
    return applicationVersion(natives().database.version(database), isAdopted(database));
  },
  get objectStoreNames(): DOMStringList {
    return visibleNames(natives().database.objectStoreNames(this as unknown as IDBDatabase));
  },
};
