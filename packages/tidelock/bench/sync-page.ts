/** Page script of the benches of the sync: an application with one store of cards, and what it is measured against. */
import { wrap } from "tidelock";
import type { Status, Tidelock } from "../src/index.ts";
import { cardOf, cards } from "./documents.ts";
import type { Card } from "./documents.ts";
import { seed } from "./seed.ts";

const STORE = "cards";

export interface OpenOptions {
  readonly database: string;
  readonly offline?: boolean;
}

/** When each number of votes was first seen. */
class Sightings {
  private readonly times = new Map<number, number>();
  private readonly waiting = new Map<number, (at: number) => void>();

  note(votes: number): void {
    if (this.times.has(votes)) return;
    const at = clock();
    this.times.set(votes, at);
    this.waiting.get(votes)?.(at);
  }

  /** Resolves with the time at which so many votes were seen, in milliseconds since 1970. */
  of(votes: number): Promise<number> {
    const at = this.times.get(votes);
    return at === undefined ? new Promise((resolve) => this.waiting.set(votes, resolve)) : Promise.resolve(at);
  }
}

class Bench {
  readonly seed: typeof seed = seed;
  readonly sightings: Sightings = new Sightings();
  private sync: Tidelock | null = null;
  private database: IDBDatabase | null = null;

  /** Opens a synced database. */
  async open({ database, offline = false }: OpenOptions): Promise<void> {
    const factory = wrap(indexedDB, {
      url: new URL("/v1/sync", location.href.replace(/^http/, "ws")).href,
      database,
      remote: "app",
      token: fetchToken,
      stores: [STORE],
      offline,
    });
    this.sync = factory.sync;
    this.database = await openDatabase(factory, database);
  }

  /** Opens a synced database that is empty, and tells how many milliseconds passed until it held `count` documents and was live. */
  async firstSync(database: string, count: number): Promise<number> {
    const start = performance.now();
    await this.open({ database });
    await this.untilStatus((status) => status.phase === "live");
    const took = performance.now() - start;
    const held = await this.count();
    if (held !== count) throw new Error(`${held} of ${count} documents are there`);
    return took;
  }

  /** Inserts cards 0 to `count` - 1 natively, 1000 per transaction, and tells how many milliseconds the transactions took. */
  async rawInsert(name: string, count: number, durability: IDBTransactionDurability): Promise<number> {
    const database = await openDatabase(indexedDB, name);
    let took = 0;
    for (let first = 0; first < count; first += 1000) {
      const documents = cards(first, Math.min(1000, count - first));
      const start = performance.now();
      const transaction = database.transaction(STORE, "readwrite", { durability });
      const store = transaction.objectStore(STORE);
      for (const document of documents) store.put(document);
      transaction.commit();
      await completed(transaction);
      took += performance.now() - start;
    }
    database.close();
    return took;
  }

  /** Puts cards `first`, `first + 1`, …, one per transaction unless told otherwise. */
  async put(first: number, count: number, perTransaction = 1): Promise<void> {
    for (let number = first; number < first + count; number += perTransaction) {
      const transaction = this.opened().transaction(STORE, "readwrite");
      const store = transaction.objectStore(STORE);
      for (const document of cards(number, Math.min(perTransaction, first + count - number))) store.put(document);
      await completed(transaction);
    }
  }

  /** Replaces the votes of a card, and tells when it began, in milliseconds since 1970. */
  async vote(number: number, votes: number): Promise<number> {
    const start = clock();
    const transaction = this.opened().transaction(STORE, "readwrite");
    transaction.objectStore(STORE).put({ ...cardOf(number), votes });
    await completed(transaction);
    return start;
  }

  /** Notes from here on when cards 0 to `count` - 1 are seen with other votes, one observer to a card. */
  watch(count: number): void {
    for (let number = 0; number < count; number++) {
      this.tidelock().observe<Card>({ store: STORE, key: cardOf(number).id }, ([card]) => {
        if (card !== undefined) this.sightings.note(card.votes);
      });
    }
  }

  count(): Promise<number> {
    return done(this.opened().transaction(STORE).objectStore(STORE).count());
  }

  flush(): Promise<void> {
    return this.tidelock().flush();
  }

  setOnline(online: boolean): void {
    if (online) this.tidelock().goOnline();
    else this.tidelock().goOffline();
  }

  untilStatus(holds: (status: Status) => boolean): Promise<void> {
    const sync = this.tidelock();
    return new Promise((resolve, reject) => {
      const stops: (() => void)[] = [];
      const look = (status: Status): void => {
        if (!holds(status)) return;
        for (const stop of stops) stop();
        resolve();
      };
      stops.push(
        sync.on("status", look),
        sync.on("error", (error) => reject(new Error(`${error.code}: ${error.message}`))),
      );
      look(sync.status);
    });
  }

  untilPhase(phase: Status["phase"]): Promise<void> {
    return this.untilStatus((status) => status.phase === phase);
  }

  private tidelock(): Tidelock {
    if (this.sync === null) throw new Error("the database is not open");
    return this.sync;
  }

  private opened(): IDBDatabase {
    if (this.database === null) throw new Error("the database is not open");
    return this.database;
  }
}

/** The least that sends a write from one page to another: a WebSocket relay, and a put and a get on both sides. */
class Relay {
  private socket: WebSocket | null = null;
  private database: IDBDatabase | null = null;
  readonly sightings: Sightings = new Sightings();

  async open(url: string, name: string): Promise<void> {
    this.database = await openDatabase(indexedDB, name);
    const socket = new WebSocket(url);
    this.socket = socket;
    socket.onmessage = (event: MessageEvent<string>) => void this.receive(JSON.parse(event.data) as Card);
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = reject;
    });
  }

  async vote(number: number, votes: number): Promise<number> {
    const start = clock();
    const card = await this.keep({ ...cardOf(number), votes });
    this.socket?.send(JSON.stringify(card));
    return start;
  }

  private async receive(received: Card): Promise<void> {
    const card = await this.keep(received);
    this.sightings.note(card.votes);
  }

  private async keep(card: Card): Promise<Card> {
    if (this.database === null) throw new Error("the relay is not open");
    const transaction = this.database.transaction(STORE, "readwrite");
    transaction.objectStore(STORE).put(card);
    await completed(transaction);
    return done(this.database.transaction(STORE).objectStore(STORE).get(card.id) as IDBRequest<Card>);
  }
}

/** Milliseconds since 1970 with fractions: pages of one machine agree on it. */
function clock(): number {
  return performance.timeOrigin + performance.now();
}

async function fetchToken(): Promise<string> {
  const response = await fetch("/v1/dev/token", { method: "POST", body: JSON.stringify({ sub: "ann" }) });
  if (!response.ok) throw new Error(`no token: ${response.status}`);
  return ((await response.json()) as { token: string }).token;
}

async function openDatabase(factory: IDBFactory, name: string): Promise<IDBDatabase> {
  const request = factory.open(name, 1);
  request.onupgradeneeded = () => void request.result.createObjectStore(STORE, { keyPath: "id" });
  return done(request);
}

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("request failed"));
  });
}

function completed(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new Error("aborted"));
  });
}

declare global {
  var client: Bench;
  var relay: Relay;
}

globalThis.client = new Bench();
globalThis.relay = new Relay();
