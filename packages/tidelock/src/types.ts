/** The public types of the package. */

/** How a database is synced. */
export interface TidelockOptions {
  /** Address of the server: `wss://host/v1/sync`. */
  readonly url: string;
  /** Name of the local IndexedDB database to sync. Others opened through the factory stay untouched. */
  readonly database: string;
  /** Name of the database on the server; by default that of `database`. */
  readonly remote?: string;
  /** The bearer token, or a function that gets one; it is called at every connection. */
  readonly token: string | (() => string | Promise<string>);
  /** The object stores to sync, and optionally the server's names for them. */
  readonly stores: readonly string[] | Readonly<Record<string, { readonly collection?: string }>>;
  /**
   * Channels to subscribe at first; by default everything that the identity may read. What `subscribe` and `unsubscribe` make of
   * them is kept on this device until this option names others.
   */
  readonly channels?: readonly string[];
  /** Decides conflicts of collections with policy `resolver`: the merged value, `undefined` to delete. */
  readonly resolver?: (conflict: ResolverInput) => unknown;
  /** Where the worker's script is; by default beside this module. */
  readonly workerUrl?: string | URL;
  /** Where the WASM file is; by default beside this module. */
  readonly wasmUrl?: string | URL;
  /** Starts with the network off. */
  readonly offline?: boolean;
  /**
   * How many of the acknowledged writes are kept on this device, to be offered again to a server that was set back to an
   * earlier state: at most `bytes` (by default 4 MiB), for at least `days` (by default 7) unless there are more.
   */
  readonly keepAcknowledged?: { readonly days?: number; readonly bytes?: number };
}

/** A conflict for the application to decide. `undefined`: the document does not exist on that side. */
export interface ResolverInput {
  readonly store: string;
  readonly key: IDBValidKey;
  readonly base: unknown;
  readonly mine: unknown;
  readonly theirs: unknown;
}

/** Where the sync stands. */
export interface Status {
  readonly phase: "starting" | "offline" | "connecting" | "catching-up" | "live" | "stopped";
  /** Whether the application lets the client be online. */
  readonly online: boolean;
  /** Whether this tab hosts the engine. */
  readonly leader: boolean;
  /** Transactions that the server has not confirmed. */
  readonly pending: number;
  /** Age of the oldest of them, in milliseconds. */
  readonly oldestPendingMs: number | null;
  /** Entries in the list of rejected mutations. */
  readonly rejected: number;
  /** Conflicts that the server reported since the engine started. */
  readonly conflicts: number;
  /** Rows of the server that the object stores refused, the first hundred: they are tried again when they or the schema change. */
  readonly quarantined: readonly RefusedRow[];
  /** When everything was last confirmed, milliseconds since 1970. */
  readonly lastSyncedAt: number | null;
  /** The last failure of the connection, until the next success. */
  readonly error: SyncError | null;
  /**
   * Why the browser deleted the database before this page opened it, in its words; `null` when it did not say so. Writes
   * that the server had not confirmed are lost.
   */
  readonly lost: string | null;
}

/** A row of the server that an object store refused. */
export interface RefusedRow {
  readonly store: string;
  /** The key as the server names it. */
  readonly key: string;
  /** The browser's words. */
  readonly reason: string;
}

/** A failure for people to see. */
export interface SyncError {
  readonly code: string;
  readonly message: string;
  /** Whether it may mend itself. */
  readonly retryable: boolean;
}

/** Rows changed. */
export interface ChangeEvent {
  readonly store: string;
  /** `null`: too many to name, or a range. */
  readonly keys: IDBValidKey[] | null;
  /** `local`: by an application in this browser; `remote`: by the server's changes. */
  readonly origin: "local" | "remote";
}

/** A mutation that the server or a limit refused, and what was taken back. */
export interface RejectedEntry {
  readonly id: number;
  readonly code: string;
  readonly message: string;
  /** Milliseconds since 1970. */
  readonly at: number;
  /** The losing values; `undefined` for a delete. */
  readonly documents: readonly { readonly store: string; readonly key: IDBValidKey; readonly mine: unknown }[];
}

/** A value that lost in a merge, or both sides of one that was merged. */
export interface ConflictEntry {
  readonly id: string;
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly store: string;
  readonly key: IDBValidKey;
  /** Member names from the root; empty for the whole document. */
  readonly path: readonly string[];
  readonly base: unknown;
  readonly mine: unknown;
  readonly theirs: unknown;
  readonly outcome: unknown;
  readonly strategy: string;
  /** Whose write met the other. */
  readonly by: string;
}

/** The events of a database. */
export interface Events {
  status: Status;
  change: ChangeEvent;
  rejected: { readonly code: string; readonly message: string };
  conflict: readonly ConflictEntry[];
  error: SyncError;
}

/** What to observe: a key, a range, an index, or a whole store. */
export interface ObserveQuery {
  readonly store: string;
  readonly key?: IDBValidKey;
  readonly range?: IDBKeyRange;
  /** Name of an index; `key` and `range` are then the index's. */
  readonly index?: string;
  readonly direction?: IDBCursorDirection;
  readonly limit?: number;
}

/** The sync of one local database. */
export interface Tidelock {
  /** Last known. */
  readonly status: Status;
  /** Listens; the function returned stops it. */
  on<E extends keyof Events>(event: E, listener: (event: Events[E]) => void): () => void;
  /** Live results of a query: once at first, then whenever something that it reads changed. The function returned stops it. */
  observe<T>(query: ObserveQuery, listener: (result: T[]) => void): () => void;
  /** Adds channels to the subscription. Without the option `channels` there is nothing to add. */
  subscribe(channels: readonly string[]): Promise<void>;
  /** Takes channels off the subscription; their documents leave this device. Fails without the option `channels`. */
  unsubscribe(channels: readonly string[]): Promise<void>;
  /** The mutations that were taken back. */
  rejected(): Promise<RejectedEntry[]>;
  /** Writes a rejected mutation again. */
  retry(id: number): Promise<void>;
  /** Forgets a rejected mutation. */
  discard(id: number): Promise<void>;
  /** The server's conflict log, the latest first; offline, what this tab has seen of it. */
  conflicts(): Promise<ConflictEntry[]>;
  goOffline(): void;
  goOnline(): void;
  /** Resolves when the server has confirmed everything. */
  flush(): Promise<void>;
  /** Stops the sync in every tab; `wipe` deletes the local database as well. */
  signOut(options?: { readonly wipe?: boolean }): Promise<void>;
  /** Stops taking part in this tab. */
  close(): Promise<void>;
}

/** An IndexedDB factory whose database is synced. */
export type TidelockFactory = IDBFactory & { readonly sync: Tidelock };
