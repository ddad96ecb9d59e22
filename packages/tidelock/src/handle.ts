/** The sync of one local database, as one tab sees it: takes part in the election, hosts the worker when it leads, passes events on. */
import { lossOf } from "./capture/index.ts";
import type { CapturedKeys } from "./capture/index.ts";
import { messageOf } from "./failure.ts";
import { Election } from "./leader/election.ts";
import type { Broadcast, Command, FromWorker, ToWorker, WorkerSetup } from "./messages.ts";
import { channelName } from "./messages.ts";
import { Observer } from "./observe/observer.ts";
import type {
  ChangeEvent,
  ConflictEntry,
  Events,
  ObserveQuery,
  RejectedEntry,
  Status,
  Tidelock,
  TidelockOptions,
} from "./types.ts";
import { readRejections } from "./worker/rejections.ts";

const COMMAND_MS_MAX = 15_000;
/** First delay before a failed engine is started again; it doubles up to the longest one. */
const ENGINE_RETRY_MS = 500;
const ENGINE_RETRY_MS_MAX = 60_000;

type Listeners = { [E in keyof Events]: Set<(event: Events[E]) => void> };

/** How long acknowledged writes are kept by default. */
const KEPT_DAYS = 7;
const DAY_MS = 24 * 3_600_000;
/** How many bytes of them. */
const KEPT_BYTES = 4 << 20;

export class Handle implements Tidelock {
  private readonly options: TidelockOptions;
  private readonly factory: IDBFactory;
  private readonly channel: BroadcastChannel;
  private readonly election: Election;
  private readonly tab = crypto.randomUUID();
  private readonly listeners: Listeners = {
    status: new Set(),
    change: new Set(),
    rejected: new Set(),
    conflict: new Set(),
    error: new Set(),
  };
  private readonly observers = new Set<Observer<unknown>>();
  private readonly replies = new Map<string, (message: Extract<Broadcast, { kind: "reply" }>) => void>();
  /** Ends each command that waits for its reply. */
  private readonly commands = new Set<(error: Error) => void>();
  private known: Omit<Status, "leader" | "oldestPendingMs" | "lost">;
  private lost: string | null = null;
  private oldestPendingAt: number | null = null;
  private seenConflicts: ConflictEntry[] = [];
  private worker: Worker | null = null;
  private connection: Promise<IDBDatabase> | null = null;
  private engineFailures = 0;
  private opened = false;
  private closed = false;

  constructor(factory: IDBFactory, options: TidelockOptions) {
    this.factory = factory;
    this.options = options;
    const online = options.offline !== true;
    this.known = {
      phase: "starting",
      online,
      pending: 0,
      rejected: 0,
      conflicts: 0,
      quarantined: [],
      lastSyncedAt: null,
      error: null,
    };
    this.channel = new BroadcastChannel(channelName(options.database));
    this.channel.onmessage = (event: MessageEvent<Broadcast>) => this.heard(event.data);
    this.election = new Election(channelName(options.database), {
      lead: () => this.lead(),
      resign: () => this.resign(),
    });
    // A page that is put away must not keep the lead: the lock would keep it out of the back/forward cache as well.
    globalThis.addEventListener?.("pagehide", () => this.election.stop());
    globalThis.addEventListener?.("pageshow", (event) => {
      this.resume();
      // What happened meanwhile was told to nobody here.
      if (event.persisted)
        for (const store of storeNames(options)) this.changed({ store, keys: null, origin: "remote" });
    });
    globalThis.document?.addEventListener("freeze", () => this.election.stop());
    globalThis.document?.addEventListener("resume", () => this.resume());
  }

  get status(): Status {
    const oldestPendingMs = this.oldestPendingAt === null ? null : Math.max(0, Date.now() - this.oldestPendingAt);
    return { ...this.known, leader: this.election.leads, oldestPendingMs, lost: this.lost };
  }

  on<E extends keyof Events>(event: E, listener: (event: Events[E]) => void): () => void {
    const set = this.listeners[event];
    set.add(listener);
    return () => void set.delete(listener);
  }

  observe<T>(query: ObserveQuery, listener: (result: T[]) => void): () => void {
    const failed = (error: unknown): void => {
      const message = messageOf(error);
      this.emit("error", { code: "observe-failed", message, retryable: true });
    };
    const observer = new Observer<unknown>(
      query,
      () => this.native(),
      (rows) => listener(rows as T[]),
      failed,
    );
    this.observers.add(observer);
    return () => {
      observer.stop();
      this.observers.delete(observer);
    };
  }

  async subscribe(channels: readonly string[]): Promise<void> {
    await this.command({ name: "subscribe", channels });
  }

  async unsubscribe(channels: readonly string[]): Promise<void> {
    await this.command({ name: "unsubscribe", channels });
  }

  async rejected(): Promise<RejectedEntry[]> {
    return readRejections(await this.native());
  }

  async retry(id: number): Promise<void> {
    await this.command({ name: "retry", id });
  }

  async discard(id: number): Promise<void> {
    await this.command({ name: "discard", id });
  }

  async conflicts(): Promise<ConflictEntry[]> {
    let logged: ConflictEntry[];
    try {
      logged = (await this.command({ name: "conflicts" })) as ConflictEntry[];
    } catch {
      return [...this.seenConflicts];
    }
    // The server does not know of a conflict that was decided on this device before anything was sent.
    const known = new Set(logged.map(identityOf));
    const own = this.seenConflicts.filter((entry) => !known.has(identityOf(entry)));
    return [...own, ...logged].sort((a, b) => b.at - a.at);
  }

  goOffline(): void {
    this.setOnline(false);
  }

  goOnline(): void {
    this.setOnline(true);
  }

  async flush(): Promise<void> {
    await this.command({ name: "flush" }, null);
  }

  async signOut(options: { readonly wipe?: boolean } = {}): Promise<void> {
    this.say({ kind: "signed-out" });
    await this.close();
    if (options.wipe === true) await this.wipe();
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    this.known = { ...this.known, phase: "stopped" };
    this.election.stop();
    this.emit("status", this.status);
    for (const observer of this.observers) observer.stop();
    this.observers.clear();
    for (const end of this.commands) end(new Error("the sync is closed"));
    const connection = this.connection;
    this.connection = null;
    this.channel.close();
    (await connection?.catch(() => null))?.close();
  }

  /** The application opened the database: its hidden stores exist. */
  databaseOpened(): void {
    this.opened = true;
    this.resume();
    this.say({ kind: "hello" });
    // Those that were started before there was a database.
    for (const observer of this.observers) observer.refresh();
  }

  /** Somebody wants to upgrade or delete the database. */
  versionChange(): void {
    const connection = this.connection;
    this.connection = null;
    void connection?.then((database) => database.close()).catch(() => undefined);
  }

  /** The browser deleted the database because it could not read it; only this page hears of that. */
  databaseLost(reason: string): void {
    this.lost = reason;
    const message = `the browser deleted the local database, and writes that were not sent with it: ${reason}`;
    const problem = { code: "database-lost", message, retryable: false };
    this.say({ kind: "problem", ...problem });
    this.emit("error", problem);
    this.emit("status", this.status);
  }

  /** The application deleted the database. */
  databaseDeleted(): void {
    this.opened = false;
    this.election.stop();
  }

  /** The application committed writes in this tab. */
  captured(stores: ReadonlyMap<string, CapturedKeys>): void {
    const changes = [...stores].map(([store, { keys }]) => [store, keys] as const);
    this.say({ kind: "captured", tab: this.tab, stores: changes });
    for (const [store, keys] of changes) this.changed({ store, keys, origin: "local" });
  }

  private resume(): void {
    if (this.opened && !this.closed) this.election.start();
  }

  private setOnline(online: boolean): void {
    this.known = { ...this.known, online };
    this.emit("status", this.status);
    void this.command({ name: "online", online }).catch(() => undefined);
  }

  private lead(): void {
    const { options } = this;
    let worker: Worker;
    try {
      const setup = this.workerSetup();
      worker =
        options.workerUrl === undefined
          ? new Worker(new URL("./worker.js", import.meta.url))
          : new Worker(options.workerUrl);
      worker.postMessage(setup);
    } catch (error) {
      // An address of another origin, for one.
      return this.engineFailed(null, messageOf(error));
    }
    this.worker = worker;
    worker.onmessage = (event: MessageEvent<FromWorker>) => this.fromWorker(event.data, worker);
    worker.onerror = (event) => this.engineFailed(worker, event.message || "the worker cannot be loaded");
    // The worker's own signs of life begin when it is loaded; until then this keeps the others from stealing.
    this.say({ kind: "beat", worker: this.tab });
    this.emit("status", this.status);
  }

  private resign(): void {
    this.worker?.terminate();
    this.worker = null;
    this.emit("status", this.status);
    // What the worker said last of a lead that it had lost is not how things stand.
    this.say({ kind: "hello" });
  }

  /** An engine that cannot be loaded, or that broke, is started again after a while; this tab or another one does it. */
  private engineFailed(worker: Worker | null, message: string): void {
    if (worker !== this.worker) return;
    if (worker !== null) {
      // It may still beat, or fail again.
      worker.onmessage = null;
      worker.onerror = null;
      worker.terminate();
    }
    this.emit("error", { code: "engine-failed", message, retryable: true });
    const delay = Math.min(ENGINE_RETRY_MS * 2 ** this.engineFailures, ENGINE_RETRY_MS_MAX);
    this.engineFailures++;
    setTimeout(() => {
      if (worker === this.worker) this.election.yield();
    }, delay);
  }

  private workerSetup(): WorkerSetup {
    const { options } = this;
    const wasmUrl = options.wasmUrl ?? new URL("./tidelock_core_bg.wasm", import.meta.url);
    return {
      kind: "setup",
      wasmUrl: String(new URL(wasmUrl, globalThis.document?.baseURI ?? location.href)),
      url: options.url,
      database: options.database,
      remote: options.remote ?? options.database,
      stores: storeNames(options).map((store) => [collectionOf(options, store), store] as const),
      channels: options.channels ?? null,
      resolver: options.resolver !== undefined,
      offline: !this.known.online,
      kept: {
        ms: (options.keepAcknowledged?.days ?? KEPT_DAYS) * DAY_MS,
        bytes: options.keepAcknowledged?.bytes ?? KEPT_BYTES,
      },
    };
  }

  private fromWorker(message: FromWorker, worker: Worker): void {
    if (worker !== this.worker) return;
    switch (message.kind) {
      case "need-token":
        void this.sendToken();
        return;
      case "resolve":
        void this.resolveConflict(message);
        return;
      case "stopped":
        this.election.stop();
        this.emit("error", { code: "engine-stopped", message: message.reason, retryable: false });
        return;
      case "failed":
        return this.engineFailed(worker, message.reason);
      case "fenced":
        this.election.yield();
    }
  }

  private async sendToken(): Promise<void> {
    const { token } = this.options;
    try {
      this.toWorker({ kind: "token", token: typeof token === "string" ? token : await token() });
    } catch (error) {
      this.toWorker({ kind: "token-failed", message: messageOf(error) });
    }
  }

  private async resolveConflict(question: Extract<FromWorker, { kind: "resolve" }>): Promise<void> {
    const { collection, store, key, idbKey, round, base, mine, theirs } = question;
    try {
      const value = await this.options.resolver?.({ store, key: idbKey, base, mine, theirs });
      this.toWorker({ kind: "resolved", collection, key, round, value });
    } catch (error) {
      // The conflict stays on the list; the resolver is asked again when the engine starts the next time.
      const message = messageOf(error);
      this.emit("error", {
        code: "resolver-failed",
        message: `the resolver failed for ${store}: ${message}`,
        retryable: false,
      });
    }
  }

  private heard(message: Broadcast): void {
    switch (message.kind) {
      case "captured":
        for (const [store, keys] of message.stores) this.changed({ store, keys, origin: "local" });
        return;
      case "changed":
        return this.changed({ store: message.store, keys: message.keys, origin: "remote" });
      case "status": {
        const { oldestPendingAt, ...known } = message.status;
        if (known.phase === "live") this.engineFailures = 0;
        this.known = known;
        this.oldestPendingAt = oldestPendingAt;
        return this.emit("status", this.status);
      }
      case "signed-out":
        void this.close();
        return;
      case "beat":
        return this.election.heard();
      case "rejected":
        return this.emit("rejected", { code: message.code, message: message.message });
      case "conflicts":
        this.seenConflicts = [...message.entries, ...this.seenConflicts].slice(0, 200);
        return this.emit("conflict", message.entries);
      case "problem":
        return this.emit("error", { code: message.code, message: message.message, retryable: message.retryable });
      case "reply":
        return this.replies.get(message.id)?.(message);
      case "hello":
      case "command":
    }
  }

  private changed(change: ChangeEvent): void {
    for (const observer of this.observers) observer.notice(change);
    this.emit("change", change);
  }

  private emit<E extends keyof Events>(event: E, detail: Events[E]): void {
    for (const listener of this.listeners[event]) {
      // One listener that throws must not keep the others from hearing.
      try {
        listener(detail);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  /** Asks the leader, wherever it is; repeated until it answers, because a leader may just be starting. Commands are idempotent. */
  private command(command: Command, timeoutMs: number | null = COMMAND_MS_MAX): Promise<unknown> {
    const id = crypto.randomUUID();
    if (this.closed) return Promise.reject(new Error("the sync is closed"));
    return new Promise((resolve, reject) => {
      const ask = (): void => this.say({ kind: "command", id, command });
      const again = setInterval(ask, 1000);
      const timeout =
        timeoutMs === null ? undefined : setTimeout(() => end(new Error("no tab answers for the sync")), timeoutMs);
      const end = (error: Error | null, value?: unknown): void => {
        clearInterval(again);
        clearTimeout(timeout);
        this.replies.delete(id);
        this.commands.delete(end);
        if (error === null) resolve(value);
        else reject(error);
      };
      this.commands.add(end);
      this.replies.set(id, (reply) => end(reply.error === null ? null : new Error(reply.error), reply.value));
      ask();
    });
  }

  private native(): Promise<IDBDatabase> {
    this.connection ??= openExisting(
      this.factory,
      this.options.database,
      () => {
        this.connection = null;
      },
      (reason) => this.databaseLost(reason),
    );
    return this.connection;
  }

  private wipe(): Promise<void> {
    return new Promise((resolve, reject) => {
      const request = this.factory.deleteDatabase(this.options.database);
      request.onsuccess = () => resolve();
      request.onerror = () => reject(request.error ?? new Error("the local database cannot be deleted"));
    });
  }

  private toWorker(message: ToWorker): void {
    this.worker?.postMessage(message);
  }

  private say(message: Broadcast): void {
    if (!this.closed) this.channel.postMessage(message);
  }
}

/** Text that is equal for one conflict as the server and as this device tells of it. */
function identityOf({ store, key, path, strategy, base, mine, theirs, outcome }: ConflictEntry): string {
  const exact = (_: string, value: unknown): unknown => (typeof value === "bigint" ? `${value}n` : value);
  return JSON.stringify([store, key, path, strategy, base, mine, theirs, outcome], exact);
}

/** The opted-in object stores. */
export function storeNames(options: TidelockOptions): string[] {
  return Array.isArray(options.stores) ? [...(options.stores as readonly string[])] : Object.keys(options.stores);
}

function collectionOf(options: TidelockOptions, store: string): string {
  if (Array.isArray(options.stores)) return store;
  const stores = options.stores as Readonly<Record<string, { readonly collection?: string }>>;
  return stores[store]?.collection ?? store;
}

/** Opens the database as it is. Reads by the package itself need no capture. */
function openExisting(
  factory: IDBFactory,
  name: string,
  closed: () => void,
  lost: (reason: string) => void,
): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = factory.open(name);
    request.onupgradeneeded = (event) => {
      const loss = lossOf(event);
      if (loss !== null) lost(loss);
      request.transaction?.abort();
    };
    request.onerror = () => {
      closed();
      reject(request.error ?? new Error(`the database ${name} cannot be opened`));
    };
    request.onsuccess = () => {
      const database = request.result;
      database.onversionchange = () => {
        database.close();
        closed();
      };
      database.onclose = closed;
      resolve(database);
    };
  });
}
