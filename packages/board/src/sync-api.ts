/**
 * What the board knows of a sync engine: the public interface of the package `tidelock`, as types only.
 *
 * The board's data never goes through this interface; it is used for the status display, the offline switch and the
 * lists of rejected and conflicting changes.
 */

/** How far the engine is: `live` means that every change arrives as it happens. */
export type Phase = "starting" | "offline" | "connecting" | "catching-up" | "live" | "stopped";

/** The engine's state; the same in every tab of the browser, except `leader`. Times are Unix milliseconds. */
export interface Status {
  phase: Phase;
  /** False while the user has switched the network off with `goOffline()`. */
  online: boolean;
  /** Whether this tab runs the engine for all tabs. */
  leader: boolean;
  /** Changes that the server has not acknowledged. */
  pending: number;
  /** Age of the oldest pending change in milliseconds. */
  oldestPendingMs: number | null;
  rejected: number;
  conflicts: number;
  lastSyncedAt: number | null;
  error: { code: string; message: string; retryable: boolean } | null;
}

/** Rows of one store changed; `keys` is null where there are too many to name. `local` = written in this browser. */
export interface ChangeEvent {
  store: string;
  keys: IDBValidKey[] | null;
  origin: "local" | "remote";
}

/** A change the server refused and the engine rolled back. */
export interface RejectedEntry {
  id: number;
  code: string;
  message: string;
  at: number;
  /** `mine` is the losing value; undefined for a delete. */
  documents: readonly { store: string; key: IDBValidKey; mine: unknown }[];
}

/** A field that was changed on two sides at once, with the value that was kept. */
export interface ConflictEntry {
  id: string;
  at: number;
  store: string;
  key: IDBValidKey;
  path: readonly string[];
  base: unknown;
  mine: unknown;
  theirs: unknown;
  outcome: unknown;
  strategy: string;
  by: string;
}

/** Events of the engine, by name. */
export interface Events {
  status: Status;
  change: ChangeEvent;
  rejected: { code: string; message: string };
  conflict: readonly ConflictEntry[];
  error: { code: string; message: string; retryable: boolean };
}

/** The part of `Tidelock` that the board uses. */
export interface SyncApi {
  /** Last known state. */
  readonly status: Status;
  /** Listens to `event`; the returned function stops listening. */
  on<E extends keyof Events>(event: E, listener: (e: Events[E]) => void): () => void;
  rejected(): Promise<RejectedEntry[]>;
  retry(id: number): Promise<void>;
  discard(id: number): Promise<void>;
  conflicts(): Promise<ConflictEntry[]>;
  goOffline(): void;
  goOnline(): void;
  signOut(options?: { wipe?: boolean }): Promise<void>;
}

/** The options that the board passes to `wrap()`. */
export interface WrapOptions {
  url: string;
  database: string;
  remote?: string;
  token: () => Promise<string>;
  stores: readonly string[];
}

/** The module `tidelock`, as far as the board uses it. */
export interface TidelockModule {
  wrap(factory: IDBFactory, options: WrapOptions): IDBFactory & { readonly sync: SyncApi };
}
