/** What the parts of the package say to each other: a tab to its own worker, and all tabs and the leader's worker on one channel. */
import type { ConflictEntry, Status } from "./types.ts";

/** First message to a worker. */
export interface WorkerSetup {
  readonly kind: "setup";
  readonly wasmUrl: string;
  readonly url: string;
  readonly database: string;
  readonly remote: string;
  /** Object store by collection. */
  readonly stores: readonly (readonly [collection: string, store: string])[];
  readonly channels: readonly string[] | null;
  readonly resolver: boolean;
  readonly offline: boolean;
  /** Limits of the acknowledged writes that are kept. */
  readonly kept: { readonly ms: number; readonly bytes: number };
}

/** From a tab to the worker that it hosts. */
export type ToWorker =
  | WorkerSetup
  | { readonly kind: "token"; readonly token: string }
  | { readonly kind: "token-failed"; readonly message: string }
  | {
      readonly kind: "resolved";
      readonly collection: string;
      readonly key: string;
      readonly round: number;
      readonly value: unknown;
    };

/** From a worker to the tab that hosts it. */
export type FromWorker =
  | { readonly kind: "need-token" }
  | { readonly kind: "stopped"; readonly reason: string }
  /** The engine cannot start, or its core has trapped; another one may go on. */
  | { readonly kind: "failed"; readonly reason: string }
  /** Another tab's engine took over. */
  | { readonly kind: "fenced" }
  | {
      readonly kind: "resolve";
      readonly collection: string;
      readonly store: string;
      readonly key: string;
      readonly idbKey: IDBValidKey;
      readonly round: number;
      readonly base: unknown;
      readonly mine: unknown;
      readonly theirs: unknown;
    };

/** What a tab asks of the leader. */
export type Command =
  | { readonly name: "subscribe"; readonly channels: readonly string[] }
  | { readonly name: "unsubscribe"; readonly channels: readonly string[] }
  | { readonly name: "online"; readonly online: boolean }
  | { readonly name: "flush" }
  | { readonly name: "retry"; readonly id: number }
  | { readonly name: "discard"; readonly id: number }
  | { readonly name: "conflicts" };

/** On the channel of a database. */
export type Broadcast =
  /** A tab committed writes. */
  | {
      readonly kind: "captured";
      readonly tab: string;
      readonly stores: readonly (readonly [string, IDBValidKey[] | null])[];
    }
  /** The leader applied changes of the server. */
  | { readonly kind: "changed"; readonly store: string; readonly keys: IDBValidKey[] | null }
  | {
      readonly kind: "status";
      readonly status: Omit<Status, "leader" | "oldestPendingMs" | "lost"> & {
        readonly oldestPendingAt: number | null;
      };
    }
  /** The leader is alive. */
  | { readonly kind: "beat"; readonly worker: string }
  /** The user signed out: every tab stops. */
  | { readonly kind: "signed-out" }
  /** A tab came and wants to know the status. */
  | { readonly kind: "hello" }
  | { readonly kind: "rejected"; readonly code: string; readonly message: string }
  | { readonly kind: "conflicts"; readonly entries: readonly ConflictEntry[] }
  | { readonly kind: "problem"; readonly code: string; readonly message: string; readonly retryable: boolean }
  | { readonly kind: "command"; readonly id: string; readonly command: Command }
  | { readonly kind: "reply"; readonly id: string; readonly error: string | null; readonly value: unknown };

/** Name of the channel, and of the lock, of a local database. */
export function channelName(database: string): string {
  return `tidelock:${database}`;
}
