/** What the application of a database wants captured, and whom to tell. */
export interface CaptureConfig {
  /** The only database that is treated; every other one passes through natively. */
  readonly database: string;
  /** The object stores opted in to capture. A name without a store is allowed: it is captured once the store exists. */
  readonly stores: readonly string[];
  /** Called once per transaction that changed a captured store, after its `complete` event has fired; never after an abort. */
  onCaptured(stores: ReadonlyMap<string, CapturedKeys>): void;
  /** A connection was opened: hidden stores and outboxes exist. The argument is the native name of the database. */
  onOpened?(nativeDatabaseName: string): void;
  /** Somebody wants to upgrade or delete the database: other connections of this page should be closed. */
  onVersionChange?(): void;
  /** The browser has deleted what it could not read, and the database is made anew. The argument is the browser's reason. */
  onLost?(reason: string): void;
  /** The database was deleted through the wrapped factory. */
  onDeleted?(): void;
}

/** Keys that a transaction may have changed in one store: a superset of those it did. */
export interface CapturedKeys {
  /** `null`: a range, or keys that are not known. */
  readonly keys: IDBValidKey[] | null;
}

/** A deleted range: `null` is the whole store, else lower bound, upper bound, lower open, upper open. */
export type MarkedRange =
  | null
  | readonly [lower: IDBValidKey | undefined, upper: IDBValidKey | undefined, lowerOpen: boolean, upperOpen: boolean];

/** A record of an outbox. It names what changed and carries no values. */
export interface OutboxRecord {
  /** Identity of the IndexedDB transaction: equal in every outbox that the transaction touched, unique otherwise. */
  readonly t: string;
  /** Primary keys written or deleted. */
  readonly k: readonly IDBValidKey[];
  /** Ranges deleted. */
  readonly r: readonly MarkedRange[];
  /** When the record was made, in milliseconds since the epoch. */
  readonly a: number;
  /** The store held rows when it got its outbox: all of them are to be compared. */
  readonly adopt?: true;
}
