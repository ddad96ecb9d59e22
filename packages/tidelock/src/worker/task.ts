/**
 * Runs one task of the core in one native transaction.
 *
 * The core decides; this file only translates: a plan's writes become requests in their order, its reads are answered in
 * their order, and the core goes on when all are there. No foreign promise is awaited while the transaction is open.
 */
import { HIDDEN_STORES, outboxName, STATE_STORE } from "../capture/names.ts";
import type { OutboxRecord } from "../capture/types.ts";
import { messageOf } from "../failure.ts";
import type { Core } from "./core.ts";
import { decodeKey, encodeKey, UnsupportedKey } from "./key.ts";
import { decodeText, decodeValue, encodeValue, parseExact } from "./value.ts";

const [, SHADOW, PENDING, REJECTED] = HIDDEN_STORES.map((store) => store.name) as [string, string, string, string];

/** A collection of the server and the object store that holds it here. */
export interface Stores {
  /** Object store by collection. */
  readonly storeOf: ReadonlyMap<string, string>;
}

/** An entry of the list of rejected mutations, as it is stored. */
export interface StoredRejection {
  readonly code: string;
  readonly message: string;
  readonly at: number;
  readonly documents: {
    readonly store: string;
    readonly key: IDBValidKey;
    readonly mine: unknown;
    readonly deleted: boolean;
  }[];
}

type Entry = readonly [string, ...unknown[]];

/** Keys to mark in an outbox. */
interface Mark {
  readonly t: string;
  readonly a: number;
  readonly k: string[];
  readonly adopt: boolean;
}

interface Plan {
  readonly writes: readonly Entry[];
  readonly reads: readonly Entry[];
}

/** Resolves when the task's transaction has ended, one way or the other, and the core was told. */
export function runTask(core: Core, database: IDBDatabase, stores: Stores, now: () => number): Promise<void> {
  return new Promise((resolve) => {
    new TaskRun(core, database, stores, (failure, message) => {
      if (failure === null) core.task_committed(now());
      else core.task_failed(now(), failure, message);
      resolve();
    }).begin();
  });
}

class TaskRun {
  private transaction: IDBTransaction | null = null;
  private failure: string | null = null;
  private message = "";
  private copying = false;
  /** Whether a row may still be refused when its request is carried out. */
  private refusable = false;
  private readonly core: Core;
  private readonly database: IDBDatabase;
  private readonly stores: Stores;
  private readonly ended: (failure: string | null, message: string) => void;

  constructor(
    core: Core,
    database: IDBDatabase,
    stores: Stores,
    ended: (failure: string | null, message: string) => void,
  ) {
    this.core = core;
    this.database = database;
    this.stores = stores;
    this.ended = ended;
  }

  begin(): void {
    try {
      const durability = this.core.task_relaxed() !== 0 ? "relaxed" : "strict";
      const transaction = this.database.transaction(this.scope(), "readwrite", { durability });
      transaction.oncomplete = () => this.ended(null, "");
      transaction.onabort = () =>
        this.ended(this.failure ?? failureOf(transaction.error), this.message || messageOf(transaction.error));
      this.transaction = transaction;
      this.step();
    } catch (error) {
      // The connection is closing, or was closed with the storage wiped under it.
      this.ended(
        error instanceof DOMException && error.name === "InvalidStateError" ? "closed" : "other",
        messageOf(error),
      );
    }
  }

  private scope(): string[] {
    const mapped = [...this.stores.storeOf.values()];
    const wanted = [STATE_STORE, SHADOW, PENDING, REJECTED, ...mapped, ...mapped.map(outboxName)];
    return wanted.filter((name) => this.database.objectStoreNames.contains(name));
  }

  private step(): void {
    this.core.step();
    try {
      const verdict = this.core.text(0);
      const plan = JSON.parse(this.core.text(1)) as Plan;
      this.write(plan);
      if (verdict === "abort") return this.abort("other", "another leader took over");
      // Nothing is asked after the last writes: the transaction commits by itself, and sooner when told. A rejection that copies
      // rows is still to be written when they are read; and a request that fails after `commit()` aborts the transaction,
      // whatever its listener says.
      if (verdict === "commit") return this.copying || this.refusable ? undefined : this.transaction?.commit();
      this.read(plan.reads);
    } catch (error) {
      this.abort("other", messageOf(error));
    }
  }

  private abort(failure: string, message: string): void {
    this.failure = failure;
    this.message = message;
    try {
      this.transaction?.abort();
    } catch {
      // It has ended by itself; its abort event tells.
    }
  }

  private store(name: string): IDBObjectStore {
    if (this.transaction === null) throw new TypeError("a task has no transaction");
    return this.transaction.objectStore(name);
  }

  /** `null` when the application has no such object store (yet). */
  private rows(collection: unknown): IDBObjectStore | null {
    const name = this.stores.storeOf.get(String(collection));
    return name !== undefined && this.database.objectStoreNames.contains(name) ? this.store(name) : null;
  }

  private write(plan: Plan): void {
    if (plan.writes.length === 0) return;
    const escaped = plan.writes.some(([kind, , , escaped]) => kind === "row" && (escaped as number[]).length > 0);
    const text = this.core.text(2);
    const bodies = (escaped ? parseExact(text) : JSON.parse(text)) as unknown[];
    let body = 0;
    let blob = 3;
    for (const [kind, ...args] of plan.writes) {
      switch (kind) {
        case "row": {
          const keys = args[1] as string[];
          this.putRows(String(args[0]), keys, bodies.slice(body, body + keys.length), args[2] as number[]);
          body += keys.length;
          break;
        }
        case "unrow": {
          const rows = this.rows(args[0]);
          for (const form of args[1] as string[]) {
            const key = keyOf(form);
            if (key !== undefined) rows?.delete(key);
          }
          break;
        }
        case "page":
          this.store(SHADOW).put(this.core.bytes(blob++), [args[0] as string, args[1] as string]);
          break;
        case "unpage":
          this.store(SHADOW).delete([args[0] as string, args[1] as string]);
          break;
        case "outbox":
          this.addMark(String(args[0]), args[1] as Mark);
          break;
        case "unoutbox": {
          const outbox = this.outbox(args[0]);
          for (const number of args[1] as number[]) outbox?.delete(number);
          break;
        }
        case "pending":
          this.store(PENDING).put(this.core.bytes(blob++), args[0] as number);
          break;
        case "unpending":
          this.store(PENDING).delete(args[0] as number);
          break;
        case "state":
          this.store(STATE_STORE).put(this.core.bytes(blob++), args[0] as string);
          break;
        case "reject":
          this.addRejection(args[0] as Rejection);
          break;
        default:
          throw new TypeError(`the core wants to write ${kind}`);
      }
    }
  }

  private putRows(collection: string, keys: readonly string[], values: unknown[], escaped: readonly number[]): void {
    const rows = this.rows(collection);
    if (rows === null) return;
    this.refusable ||= [...rows.indexNames].some((name) => rows.index(name).unique);
    const inline = rows.keyPath;
    const encoded = new Set(escaped);
    for (const [index, form] of keys.entries()) {
      // A row that cannot be made or that the store refuses (key path, unique index) must not take the whole frame with it.
      try {
        const value = encoded.has(index) ? decodeValue(values[index]) : values[index];
        const key = decodeKey(form);
        // The row would be another document's, or a further one with each change.
        if (inline !== null && indexedDB.cmp(keyAt(value, inline), key) !== 0)
          throw new Error("its body has another key");
        const request = inline !== null ? rows.put(value) : rows.put(value, key);
        request.onerror = (event) => {
          if (isGeneral(request.error)) return;
          event.preventDefault();
          event.stopPropagation();
          this.refuse(rows, collection, form, request.error);
        };
      } catch (error) {
        if (isGeneral(error)) throw error;
        this.refuse(rows, collection, form, error);
      }
    }
  }

  /** The row as it was goes: edited, it would take back what the server has by this change. */
  private refuse(rows: IDBObjectStore, collection: string, form: string, error: unknown): void {
    const key = keyOf(form);
    if (key !== undefined) rows.delete(key);
    this.core.row_refused(collection, form, messageOf(error));
  }

  private outbox(collection: unknown): IDBObjectStore | null {
    const name = outboxName(this.stores.storeOf.get(String(collection)) ?? "");
    return this.database.objectStoreNames.contains(name) ? this.store(name) : null;
  }

  private addMark(collection: string, mark: Mark): void {
    const record: OutboxRecord = { t: mark.t, k: mark.k.map(decodeKey), r: [], a: mark.a };
    this.outbox(collection)?.add(mark.adopt ? { ...record, adopt: true } : record);
  }

  private addRejection(rejection: Rejection): void {
    const { code, message, at } = rejection;
    const documents: StoredRejection["documents"] = [];
    let missing = rejection.documents.length;
    const done = (): void => {
      missing--;
      if (missing <= 0) this.store(REJECTED).add({ code, message, at, documents } satisfies StoredRejection);
    };
    if (missing === 0) return done();
    for (const document of rejection.documents) {
      const store = this.stores.storeOf.get(document.collection) ?? document.collection;
      const key = decodeKey(document.key);
      const rows = document.copy ? this.rows(document.collection) : null;
      const keep = (mine: unknown): void => {
        documents.push({ store, key, mine, deleted: !document.copy && document.mine === null });
        done();
      };
      if (rows === null) keep(document.mine === null ? undefined : decodeText(document.mine));
      else {
        this.copying = true;
        succeed(rows.get(key), keep);
      }
    }
  }

  /** Issues all reads, then answers them to the core in their order. */
  private read(reads: readonly Entry[]): void {
    const answers: (() => void)[] = [];
    let open = reads.length;
    const done = (): void => {
      open--;
      if (open > 0) return;
      try {
        for (const answer of answers) answer();
        this.step();
      } catch (error) {
        this.abort("other", messageOf(error));
      }
    };
    for (const [index, read] of reads.entries()) {
      this.readOne(read, (answer) => {
        answers[index] = answer;
        done();
      });
    }
  }

  private readOne([kind, ...args]: Entry, answer: (answer: () => void) => void): void {
    const core = this.core;
    switch (kind) {
      case "state":
        return succeed(this.store(STATE_STORE).get(args[0] as string), (bytes) =>
          answer(() => core.read_state(bytesOf(bytes))),
        );
      case "pages":
        return succeed(this.store(SHADOW).getAllKeys(), (keys) =>
          answer(() => core.read_pages((keys as string[][]).flat())),
        );
      case "page": {
        const page = this.store(SHADOW).get([args[0] as string, args[1] as string]);
        return succeed(page, (bytes) => answer(() => core.read_page(bytesOf(bytes))));
      }
      case "pending":
        return this.readAll(this.store(PENDING), null, undefined, (keys, values) => {
          answer(() => {
            core.read_pending();
            for (const [index, sequence] of keys.entries())
              core.add_pending(sequence as number, values[index] as Uint8Array);
          });
        });
      case "rejectedCount":
        return succeed(this.store(REJECTED).count(), (count) =>
          answer(() => core.read_rejected_count(count as number)),
        );
      case "outbox":
        return this.readOutbox(args[0], args[1] as number, answer);
      case "rows":
        return this.readRows(args[0], args[1] as string[], answer);
      case "scan":
        return this.scan(args[0], args[1] as string | null, args[2] as number, answer);
      default:
        throw new TypeError(`the core wants to read ${kind}`);
    }
  }

  private readOutbox(collection: unknown, after: number, answer: (answer: () => void) => void): void {
    const outbox = this.outbox(collection);
    if (outbox === null) return answer(() => this.core.read_outbox());
    this.readAll(outbox, IDBKeyRange.lowerBound(after, true), undefined, (numbers, records) => {
      answer(() => {
        this.core.read_outbox();
        for (const [index, number] of numbers.entries())
          this.addOutboxRecord(number as number, records[index] as OutboxRecord);
      });
    });
  }

  private addOutboxRecord(number: number, record: OutboxRecord): void {
    const keys: string[] = [];
    const unsupported: string[] = [];
    for (const key of record.k) {
      try {
        keys.push(encodeKey(key));
      } catch (error) {
        if (!(error instanceof UnsupportedKey)) throw error;
        unsupported.push(error.message);
      }
    }
    this.core.add_outbox_record(number, record.a, record.adopt === true, record.t, keys);
    if (unsupported.length > 0) this.core.add_outbox_unsupported(unsupported);
    for (const range of record.r) {
      const [first, last, lowerOpen, upperOpen] = range ?? [undefined, undefined, false, false];
      // A bound without a platform form is none: more rows are looked at, and none is missed.
      const [lower, upper] = [first, last].map((bound) => (bound === undefined ? null : formOf(bound)));
      const bounds = [lower, upper].filter((bound) => bound != null);
      this.core.add_outbox_range(lower != null, upper != null, lowerOpen, upperOpen, bounds);
    }
  }

  private readRows(collection: unknown, forms: readonly string[], answer: (answer: () => void) => void): void {
    const rows = this.rows(collection);
    const texts: string[] = forms.map(() => "");
    if (rows === null || forms.length === 0) return answer(() => this.core.read_rows(texts));
    let open = forms.length;
    for (const [index, form] of forms.entries()) {
      // A row may hold the value undefined; `getKey` would cost a second request per row, so such a row counts as absent.
      succeed(rows.get(decodeKey(form)), (value) => {
        texts[index] = value === undefined ? "" : rowText(value);
        open--;
        if (open === 0) answer(() => this.core.read_rows(texts));
      });
    }
  }

  private scan(collection: unknown, after: string | null, limit: number, answer: (answer: () => void) => void): void {
    const rows = this.rows(collection);
    if (rows === null) return answer(() => this.core.read_scan([]));
    const range = after === null ? null : IDBKeyRange.lowerBound(decodeKey(after), true);
    this.readAll(rows, range, limit >= 2 ** 32 - 1 ? undefined : limit, (keys, values) => {
      answer(() => {
        const rows: string[] = [];
        for (const [index, key] of keys.entries()) {
          // A row whose key cannot be synced is not part of the collection.
          const form = formOf(key);
          if (form === null) continue;
          rows.push(form, rowText(values[index]));
        }
        this.core.read_scan(rows);
      });
    });
  }

  private readAll(
    store: IDBObjectStore,
    range: IDBKeyRange | null,
    count: number | undefined,
    then: (keys: IDBValidKey[], values: unknown[]) => void,
  ): void {
    // Requests of a transaction are answered in their order: with the values the keys are there.
    const keys = store.getAllKeys(range, count);
    succeed(store.getAll(range, count), (values) => then(keys.result, values as unknown[]));
  }
}

interface Rejection {
  readonly code: string;
  readonly message: string;
  readonly at: number;
  readonly documents: readonly { collection: string; key: string; mine: string | null; copy: boolean }[];
}

function succeed(request: IDBRequest, then: (result: unknown) => void): void {
  request.onsuccess = () => then(request.result as unknown);
}

function formOf(key: IDBValidKey): string | null {
  try {
    return encodeKey(key);
  } catch {
    return null;
  }
}

/** JSON text of a row; `!` and the reason when it has none. */
function rowText(value: unknown): string {
  try {
    return encodeValue(value);
  } catch (error) {
    return `!${messageOf(error)}`;
  }
}

/** The bytes of a record, in a list; an empty one when there are none. */
function bytesOf(value: unknown): Uint8Array[] {
  return value instanceof Uint8Array ? [value] : [];
}

function failureOf(error: DOMException | null): string {
  if (error === null) return "closed";
  return error.name === "QuotaExceededError" ? "quota" : "other";
}

/** Whether a failure is of the storage or of the transaction, not of one row. */
function isGeneral(error: unknown): boolean {
  const names = ["AbortError", "InvalidStateError", "QuotaExceededError", "ReadOnlyError", "TransactionInactiveError"];
  return error === null || (error instanceof DOMException && names.includes(error.name));
}

/** What an object store takes for the key of a value. */
function keyAt(value: unknown, path: string | string[]): unknown {
  if (Array.isArray(path)) return path.map((part) => keyAt(value, part));
  const names = path === "" ? [] : path.split(".");
  return names.reduce<unknown>((at, name) => (at as Record<string, unknown> | null | undefined)?.[name], value);
}

/** `undefined` for a name of the server that is no key here: there is no such row. */
function keyOf(form: string): IDBValidKey | undefined {
  try {
    return decodeKey(form);
  } catch {
    return undefined;
  }
}
