/**
 * The native operations, taken from the prototypes once, so that nothing the application patches later, and nothing
 * that this package overrides, is called by the capture layer.
 */

type Getter<T, V> = (target: T) => V;

/** The pristine operations of the realm. */
export interface Natives {
  readonly factory: Pick<IDBFactory, "open" | "deleteDatabase" | "databases">;
  readonly database: Pick<IDBDatabase, "transaction" | "createObjectStore" | "deleteObjectStore" | "close"> & {
    readonly name: Getter<IDBDatabase, string>;
    readonly version: Getter<IDBDatabase, number>;
    readonly objectStoreNames: Getter<IDBDatabase, DOMStringList>;
  };
  readonly transaction: Pick<IDBTransaction, "objectStore" | "commit" | "abort"> & {
    readonly objectStoreNames: Getter<IDBTransaction, DOMStringList>;
  };
  readonly store: Pick<
    IDBObjectStore,
    "put" | "add" | "delete" | "clear" | "getAllKeys" | "openCursor" | "index" | "createIndex"
  > & {
    readonly name: Getter<IDBObjectStore, string>;
    readonly keyPath: Getter<IDBObjectStore, string | string[] | null>;
    readonly rename: (store: IDBObjectStore, name: string) => void;
    readonly transaction: Getter<IDBObjectStore, IDBTransaction>;
  };
  readonly index: Pick<IDBIndex, "openCursor">;
  readonly cursor: Pick<IDBCursor, "update" | "delete"> & {
    readonly primaryKey: Getter<IDBCursor, IDBValidKey>;
    readonly request: Getter<IDBCursor, IDBRequest>;
  };
  readonly request: {
    readonly result: Getter<IDBRequest, unknown>;
    readonly error: Getter<IDBRequest, DOMException | null>;
    readonly readyState: Getter<IDBRequest, IDBRequestReadyState>;
    readonly transaction: Getter<IDBRequest, IDBTransaction | null>;
  };
  readonly event: Pick<Event, "stopPropagation" | "stopImmediatePropagation">;
  readonly listen: EventTarget["addEventListener"];
  readonly dispatch: EventTarget["dispatchEvent"];
}

let loaded: Natives | undefined;

/** The native operations of this realm. Throws where there is no IndexedDB. */
export function natives(): Natives {
  return (loaded ??= load());
}

function getter<T extends object, V>(prototype: T, name: keyof T & string): Getter<T, V> {
  const get = Object.getOwnPropertyDescriptor(prototype, name)?.get;
  if (get === undefined) throw new TypeError(`this browser has no IndexedDB attribute ${name}`);
  return (target) => get.call(target) as V;
}

function setter<T extends object, V>(prototype: T, name: keyof T & string): (target: T, value: V) => void {
  const set = Object.getOwnPropertyDescriptor(prototype, name)?.set;
  if (set === undefined) throw new TypeError(`this browser has no writable IndexedDB attribute ${name}`);
  return (target, value) => set.call(target, value);
}

function load(): Natives {
  const database = IDBDatabase.prototype;
  const transaction = IDBTransaction.prototype;
  const store = IDBObjectStore.prototype;
  const cursor = IDBCursor.prototype;
  const request = IDBRequest.prototype;
  const { open, deleteDatabase, databases } = IDBFactory.prototype;
  const { stopPropagation, stopImmediatePropagation } = Event.prototype;
  return {
    factory: { open, deleteDatabase, databases },
    database: {
      transaction: database.transaction,
      createObjectStore: database.createObjectStore,
      deleteObjectStore: database.deleteObjectStore,
      close: database.close,
      name: getter(database, "name"),
      version: getter(database, "version"),
      objectStoreNames: getter(database, "objectStoreNames"),
    },
    transaction: {
      objectStore: transaction.objectStore,
      commit: transaction.commit,
      abort: transaction.abort,
      objectStoreNames: getter(transaction, "objectStoreNames"),
    },
    store: {
      put: store.put,
      add: store.add,
      delete: store.delete,
      clear: store.clear,
      getAllKeys: store.getAllKeys,
      openCursor: store.openCursor,
      index: store.index,
      createIndex: store.createIndex,
      name: getter(store, "name"),
      keyPath: getter(store, "keyPath"),
      rename: setter(store, "name"),
      transaction: getter(store, "transaction"),
    },
    index: { openCursor: IDBIndex.prototype.openCursor },
    cursor: {
      update: cursor.update,
      delete: cursor.delete,
      primaryKey: getter(cursor, "primaryKey"),
      request: getter(cursor, "request"),
    },
    request: {
      result: getter(request, "result"),
      error: getter(request, "error"),
      readyState: getter(request, "readyState"),
      transaction: getter(request, "transaction"),
    },
    event: { stopPropagation, stopImmediatePropagation },
    listen: EventTarget.prototype.addEventListener,
    dispatch: EventTarget.prototype.dispatchEvent,
  };
}
