/**
 * Tidelock: two-way, offline-first sync for IndexedDB.
 *
 * `wrap` gives code that takes a factory a synced one; `install` serves code that uses the global `indexedDB`.
 */
import { type CaptureConfig, installFactory, wrapFactory } from "./capture/index.ts";
import { Handle, storeNames } from "./handle.ts";
import type { Tidelock, TidelockFactory, TidelockOptions } from "./types.ts";

export type {
  ChangeEvent,
  ConflictEntry,
  RefusedRow,
  Events,
  ObserveQuery,
  RejectedEntry,
  ResolverInput,
  Status,
  SyncError,
  Tidelock,
  TidelockFactory,
  TidelockOptions,
} from "./types.ts";

/** A factory whose database is synced. Other databases that are opened through it stay untouched. */
export function wrap(factory: IDBFactory, options: TidelockOptions): TidelockFactory {
  const sync = new Handle(pristine(factory), options);
  return Object.assign(wrapFactory(factory, captureConfig(sync, options)), { sync });
}

/** Makes the global `indexedDB` sync the database, for code that cannot be given a factory. */
export function install(options: TidelockOptions): Tidelock {
  const sync = new Handle(pristine(indexedDB), options);
  installFactory(captureConfig(sync, options));
  return sync;
}

/** The native methods of a factory, whatever is done to its prototype later. */
function pristine(factory: IDBFactory): IDBFactory {
  return {
    open: factory.open.bind(factory),
    deleteDatabase: factory.deleteDatabase.bind(factory),
    databases: factory.databases.bind(factory),
    cmp: factory.cmp.bind(factory),
  };
}

function captureConfig(sync: Handle, options: TidelockOptions): CaptureConfig {
  return {
    database: options.database,
    stores: storeNames(options),
    onCaptured: (stores) => sync.captured(stores),
    onOpened: () => sync.databaseOpened(),
    onVersionChange: () => sync.versionChange(),
    onLost: (reason) => sync.databaseLost(reason),
    onDeleted: () => sync.databaseDeleted(),
  };
}
