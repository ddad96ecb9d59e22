/**
 * Keeps the hidden stores in step with the application's stores, inside version change transactions.
 *
 * Invariants at the end of an upgrade: the state store exists; a store is tracked exactly when it has an outbox; a
 * store that held rows when its outbox was made has an adoption marker in it.
 */
import { HIDDEN_STORES, STATE_STORE, outboxName, outboxOwner } from "./names.ts";
import { natives } from "./natives.ts";
import { addRecord, forget } from "./outbox.ts";
import type { DatabaseState, StoreState, TransactionState } from "./outbox.ts";
import type { CaptureConfig } from "./types.ts";

export function isAdopted(database: IDBDatabase): boolean {
  return natives().database.objectStoreNames(database).contains(STATE_STORE);
}

/** The stores of a database that have an outbox. */
export function trackedStores(database: IDBDatabase): Set<string> {
  const names = natives().database.objectStoreNames(database);
  const tracked = new Set<string>();
  for (const name of names) {
    const owner = outboxOwner(name);
    if (owner !== undefined && names.contains(owner)) tracked.add(owner);
  }
  return tracked;
}

/** Opted-in stores that exist and have no outbox. */
export function missingOutboxes(database: IDBDatabase, config: CaptureConfig): string[] {
  const names = natives().database.objectStoreNames(database);
  return config.stores.filter((store) => names.contains(store) && !names.contains(outboxName(store)));
}

/** What an upgrade does before the application's own part of it: adopts the database and the opted-in stores. */
export function adopt(state: TransactionState): void {
  const native = natives();
  const { database, config } = state.database;
  if (!isAdopted(database)) {
    for (const { name, options } of HIDDEN_STORES) native.database.createObjectStore.call(database, name, options);
  }
  for (const store of missingOutboxes(database, config)) {
    createOutbox(state.database, store);
    whenPopulated(state, store, () => addAdoption(state, store));
  }
}

/**
 * Drops the outboxes of stores that are opted out. Only with a version of the application: pages with different
 * options and one version would undo each other's schema.
 */
export function dropOptedOut(state: DatabaseState): void {
  for (const store of [...state.tracked]) if (!state.config.stores.includes(store)) deleteOutbox(state, store);
}

function createOutbox(state: DatabaseState, store: string): void {
  const native = natives().database;
  const outbox = outboxName(store);
  // One left by code that got past the layer describes a store that is gone.
  if (native.objectStoreNames(state.database).contains(outbox)) native.deleteObjectStore.call(state.database, outbox);
  native.createObjectStore.call(state.database, outbox, { autoIncrement: true });
  state.tracked.add(store);
}

function deleteOutbox(state: DatabaseState, store: string): void {
  natives().database.deleteObjectStore.call(state.database, outboxName(store));
  state.tracked.delete(store);
}

/** Calls back when the store holds a row. The application may have deleted or renamed it by then. */
function whenPopulated(state: TransactionState, store: string, then: () => void): void {
  const native = natives();
  const rows = native.transaction.objectStore.call(state.transaction, store);
  state.hidden.set(native.store.getAllKeys.call(rows, null, 1), (keys) => {
    if (Array.isArray(keys) && keys.length > 0) then();
  });
}

function addAdoption(state: TransactionState, store: string): void {
  const record = { t: state.id, k: [], r: [], a: Date.now(), adopt: true } as const;
  if (addRecord(state, store, record)) state.marked.set(store, null);
}

/**
 * A store was created. One that takes the name of a tracked store deleted in the same upgrade is to be compared with
 * what the engine knows under that name, even if it stays empty.
 */
export function storeCreated(state: TransactionState, store: string): void {
  const { database } = state;
  if (!database.config.stores.includes(store)) return;
  createOutbox(database, store);
  if (database.deleted.delete(store)) addAdoption(state, store);
}

/** A store was deleted: a change of schema, not of documents, so its unsent marks go with it. */
export function storeDeleted(state: TransactionState, store: string): void {
  for (const unmarked of state.unmarked) if (unmarked.name === store) forget(unmarked);
  state.marked.delete(store);
  const { database } = state;
  if (!database.tracked.has(store)) return;
  deleteOutbox(database, store);
  database.deleted.add(store);
}

/**
 * A store got another name. Between two opted-in names the outbox moves along; towards a name that is not opted in it
 * is dropped; towards one that is, it is made. All rows are to be compared under the name they have.
 */
export function storeRenamed(state: TransactionState, store: StoreState, name: string): void {
  const from = store.name;
  const { database } = state;
  if (from === name) return;
  const wanted = database.config.stores.includes(name);
  if (database.tracked.has(from)) {
    if (wanted) moveOutbox(state, from, name);
    else {
      forget(store);
      deleteOutbox(database, from);
    }
  } else if (wanted) createOutbox(database, name);
  store.name = name;
  state.marked.delete(from);
  if (wanted) addAdoption(state, name);
}

function moveOutbox(state: TransactionState, from: string, to: string): void {
  const native = natives();
  const { database } = state.database;
  if (native.database.objectStoreNames(database).contains(outboxName(to))) {
    native.database.deleteObjectStore.call(database, outboxName(to));
  }
  native.store.rename(native.transaction.objectStore.call(state.transaction, outboxName(from)), outboxName(to));
  state.database.tracked.delete(from);
  state.database.tracked.add(to);
}
