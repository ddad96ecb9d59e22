/** Random transactions as data, and an interpreter that runs one on any database and logs all it observes. */
import { ended, show } from "./kit.ts";

export type Random = () => number;

/** mulberry32: small, seedable, good enough to choose test cases. */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export const below = (random: Random, limit: number): number => Math.floor(random() * limit);

export function pick<T>(random: Random, items: readonly T[]): T {
  const item = items[below(random, items.length)];
  if (item === undefined) throw new Error("nothing to pick from");
  return item;
}

export const STORES = ["plain", "inline", "auto", "autoInline", "local"] as const;
type StoreName = (typeof STORES)[number];

export function createStores(database: IDBDatabase): void {
  const options: Record<StoreName, IDBObjectStoreParameters> = {
    plain: {},
    inline: { keyPath: "id" },
    auto: { autoIncrement: true },
    autoInline: { keyPath: "id", autoIncrement: true },
    local: {},
  };
  for (const name of STORES) {
    const store = database.createObjectStore(name, options[name]);
    store.createIndex("by", "n");
    store.createIndex("unique", "u", { unique: true });
  }
}

interface Row {
  id?: IDBValidKey;
  n: number;
  u?: number;
}

type Query = IDBValidKey | IDBKeyRange;

type Step =
  | { readonly do: "put" | "add"; readonly store: StoreName; readonly value: Row; readonly key?: IDBValidKey }
  | { readonly do: "delete"; readonly store: StoreName; readonly query: Query }
  | { readonly do: "clear"; readonly store: StoreName }
  | {
      readonly do: "cursor";
      readonly store: StoreName;
      readonly index: "by" | null;
      readonly direction: IDBCursorDirection;
      readonly query: IDBKeyRange | null;
      readonly visits: readonly ("update" | "delete" | "skip" | "advance" | "both")[];
      readonly value: number;
    }
  | { readonly do: "get"; readonly store: StoreName; readonly query: Query }
  | { readonly do: "commit" }
  | { readonly do: "abort" };

interface Hostile {
  readonly target: "database" | "transaction" | "request";
  readonly capture: boolean;
  readonly how: "stopImmediatePropagation" | "stopPropagation" | "cancelBubble" | "throw";
}

export interface Program {
  readonly stores: readonly StoreName[];
  readonly steps: readonly Step[];
  /** Whether each step waits for the request of the one before. */
  readonly chained: boolean;
  /** Whether errors of requests are prevented from aborting. */
  readonly prevent: boolean;
  readonly durability: IDBTransactionDurability;
  readonly hostile: Hostile | null;
}

function keyFrom(random: Random): IDBValidKey {
  const small = below(random, 12);
  switch (below(random, 7)) {
    case 0:
      return small + 0.5;
    case 1:
      return `k${small}`;
    case 2:
      return new Date(small * 1000);
    case 3:
      return new Uint8Array([small, 255]);
    case 4:
      return [small, `a${small % 3}`];
    case 5:
      return ["deep", [new Date(small), new Uint8Array([small]).buffer]];
    default:
      return small;
  }
}

function rangeFrom(random: Random): IDBKeyRange {
  const [a, b] = [keyFrom(random), keyFrom(random)];
  const [lower, upper] = indexedDB.cmp(a, b) <= 0 ? [a, b] : [b, a];
  const open = [random() < 0.5, random() < 0.5] as const;
  const form = below(random, 4);
  if (form === 0) return IDBKeyRange.only(a);
  if (form === 1) return IDBKeyRange.lowerBound(a, open[0]);
  if (form === 2) return IDBKeyRange.upperBound(a, open[1]);
  return indexedDB.cmp(lower, upper) === 0 ? IDBKeyRange.only(a) : IDBKeyRange.bound(lower, upper, ...open);
}

function rowFrom(random: Random): Row {
  const row: Row = { n: below(random, 10) };
  if (random() < 0.3) row.u = below(random, 30);
  return row;
}

function writeFrom(random: Random, store: StoreName): Step {
  const value = rowFrom(random);
  const kind = random() < 0.7 ? "put" : "add";
  const wantsKey = store === "plain" || store === "inline" || store === "local" || random() < 0.4;
  // Numeric keys drive the generator of a store that has one; others leave it alone.
  const key = keyFrom(random);
  if (!wantsKey) return { do: kind, store, value };
  if (store === "inline" || store === "autoInline") return { do: kind, store, value: { ...value, id: key } };
  return { do: kind, store, value, key };
}

function stepFrom(random: Random, stores: readonly StoreName[]): Step {
  const store = pick(random, stores);
  const chance = random();
  if (chance < 0.5) return writeFrom(random, store);
  if (chance < 0.68) return { do: "delete", store, query: random() < 0.6 ? keyFrom(random) : rangeFrom(random) };
  if (chance < 0.7) return { do: "clear", store };
  if (chance < 0.75) return { do: "get", store, query: keyFrom(random) };
  if (chance < 0.78) return { do: "commit" };
  if (chance < 0.8) return { do: "abort" };
  const index = random() < 0.5 ? "by" : null;
  return {
    do: "cursor",
    store,
    index,
    direction: pick(random, ["next", "prev", "nextunique", "prevunique"] as const),
    query: random() < 0.5 ? null : index === null ? rangeFrom(random) : IDBKeyRange.lowerBound(below(random, 10)),
    visits: Array.from({ length: 1 + below(random, 6) }, () =>
      pick(random, ["update", "delete", "skip", "advance", "both"] as const),
    ),
    value: below(random, 10),
  };
}

export function programFrom(random: Random): Program {
  const stores = STORES.filter(() => random() < 0.4);
  if (stores.length === 0) stores.push(pick(random, STORES));
  const hostile: Hostile = {
    target: pick(random, ["database", "transaction", "request"] as const),
    capture: random() < 0.7,
    how: pick(random, ["stopImmediatePropagation", "stopPropagation", "cancelBubble", "throw"] as const),
  };
  return {
    stores,
    steps: Array.from({ length: 1 + below(random, 8) }, () => stepFrom(random, stores)),
    chained: random() < 0.5,
    prevent: random() < 0.7,
    durability: pick(random, ["default", "relaxed", "strict"] as const),
    hostile: random() < 0.3 ? hostile : null,
  };
}

/** Runs a program and returns what its author could observe. */
export async function run(database: IDBDatabase, program: Program): Promise<string[]> {
  const runner = new Runner(database, program);
  return runner.run();
}

class Runner {
  readonly #database: IDBDatabase;
  readonly #program: Program;
  readonly #transaction: IDBTransaction;
  readonly #log: string[] = [];

  constructor(database: IDBDatabase, program: Program) {
    this.#database = database;
    this.#program = program;
    const { durability } = program;
    this.#transaction = database.transaction(program.stores, "readwrite", { durability });
  }

  async run(): Promise<string[]> {
    const { hostile, steps, chained } = this.#program;
    const end = ended(this.#transaction);
    const removeHostile = hostile === null ? () => undefined : this.#addHostile(hostile);
    if (chained) this.#chain(0);
    else for (const step of steps) this.#start(step, () => undefined);
    const outcome = await end;
    removeHostile();
    this.#log.push(
      `ended ${outcome} ${this.#transaction.error?.name ?? ""}`,
      [...this.#transaction.objectStoreNames].join(),
    );
    return this.#log;
  }

  #addHostile(hostile: Hostile): () => void {
    if (hostile.target === "request") return () => undefined;
    const target = hostile.target === "database" ? this.#database : this.#transaction;
    const listener = (event: Event): void => this.#harm(hostile, event);
    for (const type of ["success", "error"]) target.addEventListener(type, listener, hostile.capture);
    return () => {
      for (const type of ["success", "error"]) target.removeEventListener(type, listener, hostile.capture);
    };
  }

  #harm(hostile: Hostile, event: Event): void {
    this.#log.push(`hostile ${event.type} ${event.eventPhase}`);
    switch (hostile.how) {
      case "throw":
        throw new RangeError("hostile");
      case "cancelBubble":
        event.cancelBubble = true;
        break;
      default:
        event[hostile.how]();
    }
  }

  #chain(position: number): void {
    const step = this.#program.steps[position];
    if (step !== undefined) this.#start(step, () => this.#chain(position + 1));
  }

  #start(step: Step, next: () => void): void {
    try {
      this.#perform(step, next);
    } catch (error) {
      this.#log.push(`${step.do} throws ${error instanceof DOMException ? error.name : String(error)}`);
      next();
    }
  }

  #perform(step: Step, next: () => void): void {
    if (step.do === "commit" || step.do === "abort") {
      this.#transaction[step.do]();
      this.#log.push(step.do);
      return next();
    }
    const store = this.#transaction.objectStore(step.store);
    switch (step.do) {
      case "put":
      case "add":
        return this.#watch(
          step,
          "key" in step ? store[step.do](step.value, step.key) : store[step.do](step.value),
          next,
        );
      case "delete":
        return this.#watch(step, store.delete(step.query), next);
      case "clear":
        return this.#watch(step, store.clear(), next);
      case "get":
        return this.#watch(step, store.get(step.query), next);
      case "cursor": {
        const source = step.index === null ? store : store.index(step.index);
        return this.#walk(step, source.openCursor(step.query, step.direction), next);
      }
    }
  }

  #watch(step: Step, request: IDBRequest, next: () => void, then: () => void = next): void {
    const { hostile, prevent } = this.#program;
    if (hostile?.target === "request") {
      const harm = (event: Event): void => this.#harm(hostile, event);
      request.addEventListener("success", harm, hostile.capture);
    }
    request.onsuccess = () => {
      this.#log.push(`${step.do} = ${step.do === "cursor" ? "" : show(request.result)}`);
      then();
    };
    request.onerror = (event) => {
      this.#log.push(`${step.do} fails ${request.error?.name ?? ""}`);
      if (!prevent) return;
      event.preventDefault();
      next();
    };
  }

  #walk(step: Step & { do: "cursor" }, request: IDBRequest<IDBCursorWithValue | null>, next: () => void): void {
    let visit = 0;
    this.#watch(step, request, next, () => {
      const cursor = request.result;
      const action = step.visits[visit++];
      if (cursor === null || action === undefined) return next();
      this.#log.push(`at ${show(cursor.key)} ${show(cursor.primaryKey)} ${show(cursor.value)} ${action}`);
      try {
        this.#visit(step, cursor, action);
      } catch (error) {
        this.#log.push(`visit throws ${error instanceof DOMException ? error.name : String(error)}`);
        next();
      }
    });
  }

  #visit(step: Step & { do: "cursor" }, cursor: IDBCursorWithValue, action: string): void {
    const value = { ...(cursor.value as Row), n: step.value };
    if (action === "update" || action === "both") this.#watch(step, cursor.update(value), () => undefined);
    if (action === "delete" || action === "both") this.#watch(step, cursor.delete(), () => undefined);
    if (action === "advance") cursor.advance(2);
    else cursor.continue();
  }
}
