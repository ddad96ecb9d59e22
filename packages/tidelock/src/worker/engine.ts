/**
 * The engine: hosts the core in the leader's worker. It owns the connection, the clock and the native database connection,
 * carries out the core's effects in their order, and decides nothing about sync itself.
 */
import { messageOf } from "../failure.ts";
import type { Broadcast, Command, FromWorker, ToWorker, WorkerSetup } from "../messages.ts";
import { channelName } from "../messages.ts";
import type { ConflictEntry, RefusedRow } from "../types.ts";
import { Channels } from "./channels.ts";
import { Clock } from "./clock.ts";
import type { Bytes } from "./coding.ts";
import { decodeMessage, encodeMessage, inOrder, subprotocols } from "./coding.ts";
import { fetchConflicts } from "./conflicts.ts";
import type { Core } from "./core.ts";
import { guarded } from "./guard.ts";
import { decodeKey } from "./key.ts";
import { DatabaseGone, openNative } from "./native.ts";
import { retryRejection } from "./rejections.ts";
import { runTask } from "./task.ts";
import { decodeText, encodeValue } from "./value.ts";

/** The leader shows that it is alive this often. Followers give up on it after a multiple of it. */
const BEAT_MS = 400;
/** A change event with more keys than this names none. */
const KEYS_MAX = 1000;
/** How long a token may take; less than the core waits for a connection. */
const TOKEN_MS_MAX = 10_000;

export class Engine {
  private readonly core: Core;
  private readonly setup: WorkerSetup;
  private readonly post: (message: FromWorker) => void;
  private readonly channel: BroadcastChannel;
  private readonly storeOf: ReadonlyMap<string, string>;
  private readonly name = crypto.randomUUID();
  private readonly beat: ReturnType<typeof setInterval>;
  private database: Promise<IDBDatabase> | null = null;
  private socket: WebSocket | null = null;
  private send: ((frame: Bytes) => void) | null = null;
  private tokenWaiters: { readonly resolve: (token: string) => void; readonly reject: (error: Error) => void }[] = [];
  private tokenTimer: ReturnType<typeof setTimeout> | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly clock = new Clock();
  private draining = false;
  private stopped = false;
  private online: boolean;
  private flushes: (() => void)[] = [];
  /** `null` for everything. */
  private readonly channels: Channels | null;
  /** Commands that wait: one is asked again until it is answered. */
  private readonly obeying = new Set<string>();

  constructor(core: Core, setup: WorkerSetup, post: (message: FromWorker) => void) {
    this.setup = setup;
    this.post = post;
    this.online = !setup.offline;
    this.storeOf = new Map(setup.stores);
    this.channels = setup.channels === null ? null : new Channels(setup.channels);
    // Unguarded: a core that fails here fails the start.
    this.create(core);
    this.core = guarded(core, (reason) => this.broken(reason));
    this.channel = new BroadcastChannel(channelName(setup.database));
    this.channel.onmessage = (event: MessageEvent<Broadcast>) => this.heard(event.data);
    const beat = (): void => this.say({ kind: "beat", worker: this.name });
    this.beat = setInterval(beat, BEAT_MS);
    beat();
    self.addEventListener("online", () => this.drive((now) => this.core.handle_network_hint(now)));
    this.drain();
  }

  private create(core: Core): void {
    const { remote, stores, channels, resolver, offline, kept } = this.setup;
    const random = crypto.getRandomValues(new Uint32Array(2));
    const seed = (random[0] ?? 0) * 2 ** 21 + ((random[1] ?? 0) >>> 11);
    const collections = stores.map(([collection]) => collection);
    const first = [this.now(), seed, kept.ms, kept.bytes, resolver, offline, channels === null] as const;
    core.create(...first, collections.length, remote, collections, channels ?? []);
  }

  /** A message of the tab that hosts this worker. */
  receive(message: ToWorker): void {
    switch (message.kind) {
      case "setup":
        return;
      case "token":
        clearTimeout(this.tokenTimer);
        for (const { resolve } of this.tokenWaiters.splice(0)) resolve(message.token);
        return;
      case "token-failed":
        return this.tokenFailed(message.message);
      case "resolved":
        return this.resolved(message.collection, message.key, message.round, message.value);
    }
  }

  private heard(message: Broadcast): void {
    if (message.kind === "command") return this.answer(message.id, message.command);
    if (message.kind === "hello") {
      this.core.status();
      this.sayStatus(this.core.text(0));
    } else if (message.kind !== "captured") return;
    // Also at a hello: a tab that ended between a commit and its event told nobody what it wrote.
    this.drive((now) => this.core.handle_captured(now));
  }

  private answer(id: string, command: Command): void {
    if (this.obeying.has(id)) return;
    this.obeying.add(id);
    void this.obey(command)
      .then(
        (value) => this.say({ kind: "reply", id, error: null, value }),
        (error: unknown) => this.say({ kind: "reply", id, error: messageOf(error), value: null }),
      )
      .finally(() => this.obeying.delete(id));
  }

  private async obey(command: Command): Promise<unknown> {
    switch (command.name) {
      case "subscribe":
      case "unsubscribe":
        return this.changeChannels(command.name === "subscribe", command.channels);
      case "online":
        this.online = command.online;
        return this.drive((now) => this.core.set_online(now, command.online));
      case "flush":
        return new Promise<null>((resolve) => {
          this.flushes.push(() => resolve(null));
          this.drive((now) => this.core.handle_captured(now));
        });
      case "retry":
      case "discard": {
        const database = await this.open();
        const stores = [...this.storeOf.values()];
        const written = await retryRejection(database, stores, command.id, command.name === "retry");
        if (written === null) return null;
        for (const [store, keys] of written) this.say({ kind: "changed", store, keys });
        this.drive((now) => this.core.handle_rejected_removed(now));
        return null;
      }
      case "conflicts":
        return fetchConflicts(this.setup, await this.freshToken(), this.storeOf);
    }
  }

  private async changeChannels(add: boolean, channels: readonly string[]): Promise<null> {
    if (this.channels !== null) {
      const wanted = await this.channels.change(await this.open(), add, channels);
      this.drive((now) => this.core.set_channels(now, wanted));
    } else if (!add) throw new Error("everything is subscribed: name channels in the options");
    return null;
  }

  private readonly now = (): number => this.clock.now();

  private drive(event: (now: number) => void): void {
    if (this.stopped) return;
    event(this.now());
    this.drain();
  }

  /** Carries out every effect. Effects of an event that comes in between join the queue of the core. */
  private drain(): void {
    if (this.draining || this.stopped) return;
    this.draining = true;
    try {
      while (this.core.poll_effect() !== 0) {
        this.carryOut(this.core.text(0));
        if (this.stopped) return;
      }
    } finally {
      this.draining = false;
    }
    this.setTimer();
    this.settleFlushes();
  }

  private setTimer(): void {
    clearTimeout(this.timer);
    const at = this.core.next_timeout_ms();
    if (Number.isNaN(at)) return;
    this.timer = setTimeout(() => this.drive((now) => this.core.handle_timeout(now)), Math.max(0, at - this.now()));
  }

  private settleFlushes(): void {
    if (this.flushes.length === 0 || this.core.is_synced() === 0) return;
    const waiting = this.flushes;
    this.flushes = [];
    for (const resolve of waiting) resolve();
  }

  private carryOut(kind: string): void {
    switch (kind) {
      case "connect":
        return this.connect();
      case "send":
        return this.send?.(this.core.bytes(1));
      case "disconnect":
        return this.disconnect();
      case "task":
        void this.runTask();
        return;
      case "reopen":
        this.database = null;
        return;
      case "status":
        return this.sayStatus(this.core.text(1));
      default:
        return this.report(kind, JSON.parse(this.core.text(1)));
    }
  }

  private async runTask(): Promise<void> {
    let database: IDBDatabase;
    try {
      database = await this.open();
      const wanted = await this.channels?.recall(database);
      if (wanted !== undefined) this.core.set_channels(this.now(), wanted);
    } catch (error) {
      this.database = null;
      if (error instanceof DatabaseGone) return this.stop(error.message);
      return this.drive((now) => this.core.task_failed(now, "closed", messageOf(error)));
    }
    await runTask(this.core, database, { storeOf: this.storeOf }, this.now);
    this.drain();
  }

  /**
   * The native connection. When an upgrade closes it, this engine ends: the upgrade may make stores and their outboxes anew,
   * and what the core remembers of them is read again by the next engine alone.
   */
  private open(): Promise<IDBDatabase> {
    this.database ??= openNative(this.setup.database, () => this.handOver());
    return this.database;
  }

  private connect(): void {
    this.disconnect();
    let socket: WebSocket;
    try {
      socket = new WebSocket(this.setup.url, subprotocols());
    } catch (error) {
      // An address that is none, or one that the page may not connect to.
      return this.disconnected(messageOf(error));
    }
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    const current = (): boolean => this.socket === socket;
    // Messages of a connection that is gone are void, also those that were still being coded.
    const failed = (error: unknown): void => {
      if (current()) this.disconnected(`a message cannot be read: ${messageOf(error)}`);
    };
    const received = inOrder((frame) => {
      if (current()) this.drive((now) => this.core.handle_message(now, frame));
    }, failed);
    const sent = inOrder((message) => {
      if (current()) socket.send(message);
    }, failed);
    this.send = (frame) => sent(encodeMessage(frame, socket.protocol));
    socket.onopen = () => {
      const hello = (token: string): void => {
        if (current()) this.drive((now) => this.core.handle_connected(now, token));
      };
      this.freshToken().then(hello, (error: unknown) => {
        if (current()) this.disconnected(messageOf(error));
      });
    };
    socket.onmessage = (event: MessageEvent<unknown>) => {
      if (!current() || !(event.data instanceof ArrayBuffer)) return;
      received(decodeMessage(new Uint8Array(event.data)));
    };
    socket.onclose = (event) => {
      if (current()) this.disconnected(event.reason === "" ? `the connection closed (${event.code})` : event.reason);
    };
  }

  private freshToken(): Promise<string> {
    return new Promise((resolve, reject) => {
      this.tokenWaiters.push({ resolve, reject });
      if (this.tokenWaiters.length > 1) return;
      this.post({ kind: "need-token" });
      // The next one that needs a token asks again.
      this.tokenTimer = setTimeout(() => this.tokenFailed("none came in time"), TOKEN_MS_MAX);
    });
  }

  private tokenFailed(message: string): void {
    clearTimeout(this.tokenTimer);
    for (const { reject } of this.tokenWaiters.splice(0)) reject(new Error(`no token: ${message}`));
  }

  private disconnect(): void {
    const socket = this.socket;
    this.socket = null;
    this.send = null;
    socket?.close(1000);
  }

  private disconnected(reason: string): void {
    this.disconnect();
    this.drive((now) => this.core.handle_disconnected(now, reason));
  }

  private resolved(collection: string, key: string, round: number, value: unknown): void {
    try {
      const text = value === undefined ? [] : [encodeValue(value)];
      this.drive((now) => this.core.resolve(now, round, collection, key, text));
    } catch (error) {
      this.say({ kind: "problem", code: "resolver-failed", message: messageOf(error), retryable: false });
    }
  }

  private stop(reason: string): void {
    if (this.stopped) return;
    this.end();
    this.post({ kind: "stopped", reason });
  }

  /** The core has trapped: the tab starts another engine, which goes on from what is stored. */
  private broken(reason: string): void {
    this.end();
    // What the trap unwinds through is told with the reason; nothing that follows from it is news.
    self.onerror = () => true;
    this.post({ kind: "failed", reason });
  }

  /** Another engine goes on from what is stored. */
  private handOver(): void {
    if (this.stopped) return;
    this.end();
    this.post({ kind: "fenced" });
  }

  private end(): void {
    this.stopped = true;
    clearTimeout(this.timer);
    clearTimeout(this.tokenTimer);
    clearInterval(this.beat);
    this.disconnect();
    this.channel.close();
    void this.database?.then((database) => database.close()).catch(() => undefined);
  }

  private report(kind: string, detail: unknown): void {
    switch (kind) {
      case "changed": {
        const { collection, keys } = detail as { collection: string; keys: string[] };
        const named = keys.length > KEYS_MAX ? null : keys.map(decodeKey);
        return this.say({ kind: "changed", store: this.store(collection), keys: named });
      }
      case "rejected": {
        const { code, message } = detail as { code: string; message: string };
        return this.say({ kind: "rejected", code, message });
      }
      case "conflicts":
        return this.say({
          kind: "conflicts",
          entries: (detail as Note[]).map((note, index) => this.conflict(note, index)),
        });
      case "resolve":
        return this.askResolver(detail as Question);
      case "problem":
        return this.say({ kind: "problem", ...(detail as { code: string; message: string; retryable: boolean }) });
      case "fenced":
        return this.handOver();
      default:
        throw new TypeError(`the core reports ${kind}`);
    }
  }

  private askResolver(question: Question): void {
    const { collection, key, round } = question;
    this.post({
      kind: "resolve",
      collection,
      store: this.store(collection),
      key,
      idbKey: decodeKey(key),
      round,
      base: valueOf(question.base),
      mine: valueOf(question.mine),
      theirs: valueOf(question.theirs),
    });
  }

  private conflict(note: Note, index: number): ConflictEntry {
    const at = this.now();
    const { path, strategy } = note;
    return {
      id: `local-${at}-${index}`,
      at,
      store: this.store(note.collection),
      key: decodeKey(note.key),
      path,
      strategy,
      by: "",
      base: valueOf(note.base),
      mine: valueOf(note.mine),
      theirs: valueOf(note.theirs),
      outcome: valueOf(note.outcome),
    };
  }

  private store(collection: string): string {
    return this.storeOf.get(collection) ?? collection;
  }

  private quarantined(): RefusedRow[] {
    this.core.quarantine();
    const rows = JSON.parse(this.core.text(0)) as [collection: string, key: string, reason: string][];
    return rows.map(([collection, key, reason]) => ({ store: this.store(collection), key, reason }));
  }

  private sayStatus(text: string): void {
    const status = JSON.parse(text) as Extract<Broadcast, { kind: "status" }>["status"];
    this.say({ kind: "status", status: { ...status, quarantined: this.quarantined(), online: this.online } });
  }

  private say(message: Broadcast): void {
    if (!this.stopped) this.channel.postMessage(message);
  }
}

interface Note {
  readonly collection: string;
  readonly key: string;
  readonly path: string[];
  readonly strategy: string;
  readonly base: string | null;
  readonly mine: string | null;
  readonly theirs: string | null;
  readonly outcome: string | null;
}

interface Question {
  readonly collection: string;
  readonly key: string;
  readonly round: number;
  readonly base: string | null;
  readonly mine: string | null;
  readonly theirs: string | null;
}

function valueOf(text: string | null): unknown {
  return text === null ? undefined : decodeText(text);
}
