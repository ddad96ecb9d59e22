/**
 * The board without a sync engine: tabs of this browser share one IndexedDB and tell each other what they wrote.
 *
 * Chosen by `?local` in the address, and when the engine cannot be loaded. Switching it off holds back the messages
 * between the tabs, the rows are shared all the same.
 */
import type { ChangeEvent, ConflictEntry, Events, RejectedEntry, Status, SyncApi } from "./sync-api.ts";

type Listeners = { [E in keyof Events]: Set<(event: Events[E]) => void> };

export class LocalSync implements SyncApi {
  #current: Status = {
    phase: "live",
    online: true,
    leader: false,
    pending: 0,
    oldestPendingMs: null,
    rejected: 0,
    conflicts: 0,
    lastSyncedAt: null,
    error: null,
  };
  readonly #listeners: Listeners = {
    status: new Set(),
    change: new Set(),
    rejected: new Set(),
    conflict: new Set(),
    error: new Set(),
  };
  readonly #channel: BroadcastChannel;
  /** Announcements made while switched off: one list of changes per transaction. */
  #held: ChangeEvent[][] = [];
  #heldSince: number | null = null;

  constructor(database: string) {
    this.#channel = new BroadcastChannel(`board:${database}`);
    this.#channel.onmessage = (message: MessageEvent<ChangeEvent[]>) => {
      for (const change of message.data) this.#emit("change", change);
    };
  }

  get status(): Status {
    return { ...this.#current, oldestPendingMs: this.#heldSince === null ? null : Date.now() - this.#heldSince };
  }

  on<E extends keyof Events>(event: E, listener: (e: Events[E]) => void): () => void {
    this.#listeners[event].add(listener);
    return () => this.#listeners[event].delete(listener);
  }

  /** Tells the other tabs what one transaction of this tab changed. */
  announce(changes: ChangeEvent[]): void {
    if (this.#current.online) {
      this.#channel.postMessage(changes);
      this.#update({ lastSyncedAt: Date.now() });
      return;
    }
    this.#held.push(changes);
    this.#heldSince ??= Date.now();
    this.#update({ pending: this.#held.length });
  }

  rejected(): Promise<RejectedEntry[]> {
    return Promise.resolve([]);
  }

  retry(): Promise<void> {
    return Promise.resolve();
  }

  discard(): Promise<void> {
    return Promise.resolve();
  }

  conflicts(): Promise<ConflictEntry[]> {
    return Promise.resolve([]);
  }

  goOffline(): void {
    this.#update({ phase: "offline", online: false });
  }

  goOnline(): void {
    const held = this.#held;
    this.#held = [];
    this.#heldSince = null;
    this.#update({ phase: "live", online: true, pending: 0 });
    for (const changes of held) this.announce(changes);
  }

  signOut(): Promise<void> {
    return Promise.resolve();
  }

  #update(part: Partial<Status>): void {
    this.#current = { ...this.#current, ...part };
    this.#emit("status", this.status);
  }

  #emit<E extends keyof Events>(event: E, value: Events[E]): void {
    for (const listener of this.#listeners[event]) listener(value);
  }
}
