/** The page of the sync tests: an application made of data. It loads the built package as a module. */
import { wrap } from "tidelock";
import type {
  ChangeEvent,
  ConflictEntry,
  RejectedEntry,
  ResolverInput,
  Status,
  SyncError,
  Tidelock,
} from "../../../src/index.ts";

/** An object store of the application. */
export interface StoreSpec {
  readonly name: string;
  readonly collection?: string;
  readonly keyPath?: string | string[];
  readonly autoIncrement?: boolean;
  /** Key path of an index that allows each value once. */
  readonly unique?: string;
  /** Whether the store is opted in to sync: yes unless told otherwise. */
  readonly synced?: boolean;
  /** Whether an upgrade deletes the store and creates it again, empty. */
  readonly recreate?: boolean;
}

/** How the page opens its database. */
export interface OpenSpec {
  readonly stores: readonly StoreSpec[];
  /** Address of the server, when it is not that of the page. */
  readonly url?: string;
  readonly database?: string;
  readonly remote?: string;
  /** Who the token is for; `null` sends a token that is none. */
  readonly user?: string | null;
  /** How many times no token comes, and no failure either. */
  readonly silentTokens?: number;
  readonly offline?: boolean;
  readonly channels?: readonly string[];
  readonly version?: number;
  /** `join`: joins the strings of the member `text` of both sides, sorted. */
  readonly resolver?: "join";
  /** A script that is run in the engine's worker before it: its address. */
  readonly workerUrl?: string;
  readonly wasmUrl?: string;
}

/** One request of a transaction. Ranges include both bounds. */
export type Op =
  | readonly ["put" | "add", store: string, value: unknown, key?: IDBValidKey]
  | readonly ["delete", store: string, key: IDBValidKey]
  | readonly ["range", store: string, lower: IDBValidKey, upper: IDBValidKey]
  | readonly ["clear", store: string]
  | readonly ["increment", store: string, key: IDBValidKey, members: readonly string[]]
  | readonly ["cursorUpdate", store: string, lower: IDBValidKey, upper: IDBValidKey, member: string, value: unknown]
  | readonly ["cursorDelete", store: string, lower: IDBValidKey, upper: IDBValidKey];

/** A transaction; with `abort` it is aborted after its requests. */
export interface Tx {
  readonly ops: readonly Op[];
  readonly abort?: boolean;
}

/** Events that the page has heard, since it opened the database. */
interface Heard {
  readonly changes: ChangeEvent[];
  readonly rejected: { readonly code: string; readonly message: string }[];
  readonly conflicts: ConflictEntry[];
  readonly errors: SyncError[];
  readonly phases: Status["phase"][];
}

class Driver {
  readonly heard: Heard = { changes: [], rejected: [], conflicts: [], errors: [], phases: [] };
  /** Results of `observe`, the latest last. */
  readonly observed: unknown[][] = [];
  /** When a row with the member `at` (milliseconds since 1970) was first seen by `observe`, minus that time. */
  readonly latencies: Map<unknown, number> = new Map();
  /** Descriptions of half-visible transactions that `watchPairs` saw. */
  readonly torn: string[] = [];
  private sync: Tidelock | null = null;
  private database: IDBDatabase | null = null;

  /** Wraps the factory and opens the database through it. */
  async open(spec: OpenSpec): Promise<void> {
    const synced = spec.stores.filter((store) => store.synced !== false);
    let silent = spec.silentTokens ?? 0;
    const factory = wrap(indexedDB, {
      url: spec.url ?? new URL("/v1/sync", location.href.replace(/^http/, "ws")).href,
      database: spec.database ?? "app",
      token: () => {
        if (silent-- > 0) return new Promise<string>(() => undefined);
        return spec.user === null ? "no.token.atall" : fetchToken(spec.user ?? "ann");
      },
      stores: Object.fromEntries(
        synced.map(({ name, collection }) => [name, collection === undefined ? {} : { collection }]),
      ),
      ...(spec.remote === undefined ? {} : { remote: spec.remote }),
      ...(spec.offline === undefined ? {} : { offline: spec.offline }),
      ...(spec.channels === undefined ? {} : { channels: spec.channels }),
      ...(spec.resolver === undefined ? {} : { resolver: joinTexts }),
      ...(spec.workerUrl === undefined ? {} : { workerUrl: spec.workerUrl }),
      ...(spec.wasmUrl === undefined ? {} : { wasmUrl: spec.wasmUrl }),
    });
    this.sync = factory.sync;
    this.listen(factory.sync);
    const database = await openDatabase(factory, spec);
    // Applications close when another page upgrades or deletes the database.
    database.onversionchange = () => database.close();
    this.database = database;
  }

  /** Creates and fills the database natively, without the package. */
  async populate(spec: OpenSpec, transactions: readonly Tx[]): Promise<void> {
    this.database = await openDatabase(indexedDB, spec);
    await this.run(transactions);
    this.database.close();
    this.database = null;
  }

  private listen(sync: Tidelock): void {
    sync.on("change", (event) => this.heard.changes.push(event));
    sync.on("rejected", (event) => this.heard.rejected.push(event));
    sync.on("conflict", (entries) => this.heard.conflicts.push(...entries));
    sync.on("error", (error) => this.heard.errors.push(error));
    sync.on("status", ({ phase }) => {
      if (this.heard.phases.at(-1) !== phase) this.heard.phases.push(phase);
    });
  }

  /** Runs transactions one after the other; the error's name of each that failed, else `null`. */
  async run(transactions: readonly Tx[]): Promise<(string | null)[]> {
    const outcomes: (string | null)[] = [];
    for (const transaction of transactions) outcomes.push(await runTransaction(this.native(), transaction));
    return outcomes;
  }

  /** Every row of a store with its key. */
  dump(store: string): Promise<[IDBValidKey, unknown][]> {
    return new Promise((resolve, reject) => {
      const transaction = this.native().transaction(store);
      const keys = transaction.objectStore(store).getAllKeys();
      const values = transaction.objectStore(store).getAll() as IDBRequest<unknown[]>;
      transaction.oncomplete = () => resolve(keys.result.map((key, index) => [key, values.result[index]]));
      transaction.onabort = () => reject(transaction.error ?? new Error(`${store} cannot be read`));
    });
  }

  /** Rows whose key and value are described in text that tells every type apart. */
  async describe(store: string): Promise<[string, string][]> {
    return (await this.dump(store)).map(([key, value]) => [describe(key), describe(value)]);
  }

  observe(store: string): void {
    this.tidelock().observe<{ readonly id?: unknown; readonly at?: number }>({ store }, (rows) => {
      this.observed.push(rows);
      for (const { id, at } of rows)
        if (at !== undefined && !this.latencies.has(id)) this.latencies.set(id, Date.now() - at);
    });
  }

  /** Compares two stores that every transaction changes alike, whenever one of them changes. */
  watchPairs(left: string, right: string): void {
    const compare = (): void => {
      const transaction = this.native().transaction([left, right]);
      const rows = [left, right].map((name) => transaction.objectStore(name).getAll() as IDBRequest<unknown[]>);
      transaction.oncomplete = () => {
        const [a, b] = rows.map((request) => JSON.stringify(request.result));
        if (a !== b) this.torn.push(`${left} has ${a}, ${right} has ${b}`);
      };
    };
    this.tidelock().on("change", ({ store }) => {
      if (store === left || store === right) compare();
    });
  }

  /** Writes a row and tells how long the commit took, in milliseconds. */
  async timedPut(store: string, value: unknown): Promise<number> {
    const start = performance.now();
    const [failure] = await this.run([{ ops: [["put", store, value]] }]);
    if (failure !== null) throw new Error(`the write failed: ${failure}`);
    return performance.now() - start;
  }

  get status(): Status {
    return this.tidelock().status;
  }

  flush(): Promise<void> {
    return this.tidelock().flush();
  }

  offline(): void {
    this.tidelock().goOffline();
  }

  online(): void {
    this.tidelock().goOnline();
  }

  rejected(): Promise<RejectedEntry[]> {
    return this.tidelock().rejected();
  }

  retry(id: number): Promise<void> {
    return this.tidelock().retry(id);
  }

  discard(id: number): Promise<void> {
    return this.tidelock().discard(id);
  }

  conflicts(): Promise<ConflictEntry[]> {
    return this.tidelock().conflicts();
  }

  subscribe(channels: readonly string[]): Promise<void> {
    return this.tidelock().subscribe(channels);
  }

  unsubscribe(channels: readonly string[]): Promise<void> {
    return this.tidelock().unsubscribe(channels);
  }

  async signOut(wipe: boolean): Promise<void> {
    this.native().close();
    await this.tidelock().signOut({ wipe });
  }

  tidelock(): Tidelock {
    if (this.sync === null) throw new Error("the database is not open");
    return this.sync;
  }

  /** Fills a store with one row per kind of value that JSON lacks. */
  async putExotic(store: string): Promise<void> {
    await this.run([{ ops: exotic().map(([key, value]) => ["put", store, value, key]) }]);
  }

  /** What `putExotic` writes, in the order of the keys. */
  exotic(): [string, string][] {
    const rows = exotic().sort(([a], [b]) => indexedDB.cmp(a, b));
    return rows.map(([key, value]) => [describe(key), describe(value)]);
  }

  private native(): IDBDatabase {
    if (this.database === null) throw new Error("the database is not open");
    return this.database;
  }
}

async function fetchToken(sub: string): Promise<string> {
  const response = await fetch("/v1/dev/token", {
    method: "POST",
    body: JSON.stringify({ sub, claims: claimsOf(sub) }),
  });
  if (!response.ok) throw new Error(`no token: ${response.status}`);
  return ((await response.json()) as { token: string }).token;
}

/** `ann+red+blue` is ann of the teams red and blue. */
function claimsOf(sub: string): { teams: string[] } {
  return { teams: sub.split("+").slice(1) };
}

function joinTexts({ mine, theirs }: ResolverInput): unknown {
  const texts = [mine, theirs].map((side) => (side as { text?: string } | undefined)?.text ?? "");
  return { ...(theirs as object), text: texts.sort().join("|") };
}

function openDatabase(factory: IDBFactory, spec: OpenSpec): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = factory.open(spec.database ?? "app", spec.version ?? 1);
    request.onupgradeneeded = () => {
      const database = request.result;
      for (const { name, keyPath, autoIncrement, unique, recreate } of spec.stores) {
        if (database.objectStoreNames.contains(name)) {
          if (recreate !== true) continue;
          database.deleteObjectStore(name);
        }
        const options = { keyPath: keyPath ?? null, autoIncrement: autoIncrement ?? false };
        const store = database.createObjectStore(name, options);
        if (unique !== undefined) store.createIndex(unique, unique, { unique: true });
      }
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("the database cannot be opened"));
  });
}

function runTransaction(database: IDBDatabase, { ops, abort }: Tx): Promise<string | null> {
  return new Promise((resolve) => {
    const names = [...new Set(ops.map(([, store]) => store))];
    const transaction = database.transaction(names, "readwrite");
    let error: DOMException | null = null;
    transaction.oncomplete = () => resolve(null);
    transaction.onabort = () => resolve((transaction.error ?? error)?.name ?? "AbortError");
    let next = 0;
    const proceed = (): void => {
      const op = ops[next++];
      try {
        if (op !== undefined) request(transaction.objectStore(op[1]), op, proceed);
        else if (abort === true) transaction.abort();
      } catch (failure) {
        error = failure as DOMException;
        transaction.abort();
      }
    };
    proceed();
  });
}

function request(store: IDBObjectStore, op: Op, done: () => void): void {
  switch (op[0]) {
    case "put":
    case "add":
      store[op[0]](op[2], op[3]).onsuccess = done;
      return;
    case "delete":
      store.delete(op[2]).onsuccess = done;
      return;
    case "range":
      store.delete(IDBKeyRange.bound(op[2], op[3])).onsuccess = done;
      return;
    case "clear":
      store.clear().onsuccess = done;
      return;
    case "increment": {
      const read = store.get(op[2]) as IDBRequest<Record<string, number>>;
      read.onsuccess = () => {
        const more = op[3].map((member) => [member, (read.result[member] ?? 0) + 1] as const);
        store.put({ ...read.result, ...Object.fromEntries(more) }, op[2]).onsuccess = done;
      };
      return;
    }
    case "cursorUpdate":
    case "cursorDelete": {
      const cursors = store.openCursor(IDBKeyRange.bound(op[2], op[3]));
      cursors.onsuccess = () => {
        const cursor = cursors.result;
        if (cursor === null) return done();
        if (op[0] === "cursorDelete") cursor.delete();
        else cursor.update({ ...(cursor.value as object), [op[4]]: op[5] });
        cursor.continue();
      };
    }
  }
}

/** Text that tells apart what structured cloning tells apart. */
function describe(value: unknown): string {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value);
    case "number":
      return Object.is(value, -0) ? "-0" : String(value);
    case "bigint":
      return `${value}n`;
    case "object":
      return value === null ? "null" : describeObject(value);
    default:
      return String(value);
  }
}

function describeObject(value: object): string {
  const list = (items: Iterable<unknown>): string => Array.from(items, describe).join(",");
  if (Array.isArray(value)) return `[${list(value as unknown[])}]`;
  if (value instanceof Date) return `Date(${value.getTime()})`;
  if (value instanceof Map) return `Map(${list(value)})`;
  if (value instanceof Set) return `Set(${list(value)})`;
  if (value instanceof RegExp) return String(value);
  if (value instanceof Error) return `${value.name}(${describe(value.message)})`;
  if (value instanceof ArrayBuffer) return `ArrayBuffer(${list(new Uint8Array(value))})`;
  if (ArrayBuffer.isView(value)) {
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    return `${Object.prototype.toString.call(value).slice(8, -1)}(${list(bytes)})`;
  }
  const members = Object.entries(value).map(([name, member]) => `${JSON.stringify(name)}:${describe(member)}`);
  return `{${members.sort().join(",")}}`;
}

function exotic(): [IDBValidKey, unknown][] {
  return [
    ["date", { at: new Date(1_700_000_000_123), invalid: new Date(NaN) }],
    [
      "map",
      new Map<unknown, unknown>([
        ["a", 1],
        [{ b: 2 }, new Set([1, "x"])],
      ]),
    ],
    ["set", { tags: new Set(["x", 1, null]) }],
    ["bigint", { small: 5n, negative: -7n, large: 2n ** 80n, edge: 2n ** 53n }],
    [
      "binary",
      {
        buffer: new Uint8Array([1, 2, 255]).buffer,
        view: new Float64Array([1.5, -0]),
        data: new DataView(new ArrayBuffer(2)),
      },
    ],
    ["undefined", { a: undefined, b: [undefined, null] }],
    ["numbers", [-0, NaN, Infinity, -Infinity, 1e300, 2 ** 53, 0.1, 9007199254740994]],
    ["regexp", /a+b/giu],
    ["error", new RangeError("too far")],
    ["escape", { "~date": 1 }],
    [
      "proto",
      Object.defineProperty({}, "__proto__", {
        value: { own: true },
        enumerable: true,
        configurable: true,
        writable: true,
      }),
    ],
    ["text", "plain \u2028 \ud83d\ude00 text"],
    [42, "number key"],
    [-1.5, "negative key"],
    [new Date(5), "date key"],
    [["a", 1, new Date(2), ["b"]], "array key"],
    [new Uint8Array([0, 128, 255]).buffer, "binary key"],
    ["", "empty key"],
    ["~tilde", "tilde key"],
  ];
}

declare global {
  // eslint-disable-next-line no-var
  var driver: Driver;
}

globalThis.driver = new Driver();
