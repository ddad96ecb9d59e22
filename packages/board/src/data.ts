/**
 * The board's data on plain IndexedDB: database "board", version 1. Nothing here knows of synchronisation.
 *
 * Each action of a person is one transaction over all rows and stores that it touches, and changes fields on the row
 * as it is stored at that moment, so that unknown fields and other people's changes survive.
 */
import { committed, result, walk } from "./idb.ts";
import { asArray, asStep, idOf, isKey, isRow, type Row, type Rows } from "./model.ts";

const VERSION = 1;
/** Entries kept of the activity of this device. */
const ACTIVITY_MAX = 200;
/** Waiting times between attempts to open the database: doubled each time, in all about three seconds. */
const OPEN_DELAY_MS_MIN = 50;
const OPEN_DELAY_MS_MAX = 1600;

/** The stores that all people share. The store "activity" belongs to this device alone. */
export const SHARED_STORES = ["lists", "cards", "labels"] as const;
export type SharedStore = (typeof SHARED_STORES)[number];
type StoreName = SharedStore | "activity";

/** A row that was written or deleted. */
export interface Touched {
  readonly store: SharedStore;
  readonly key: IDBValidKey;
}

/** What happened on this device; `card` is the display identity of the card it is about. */
export interface Activity {
  readonly at: Date;
  readonly text: string;
  readonly card: string | null;
  readonly mine: boolean;
}

/** Rows removed together, enough to put them back. */
export interface Removed {
  readonly lists: readonly Row[];
  readonly cards: readonly Row[];
}

/** The row an action is about is gone: someone else deleted it. */
export class MissingRow extends Error {
  constructor(store: SharedStore) {
    super(`This ${store.slice(0, -1)} was deleted in the meantime.`);
    this.name = "MissingRow";
  }
}

/** How the connection to the database can change under the application. */
export interface Hooks {
  /** Another window needs a newer database; this connection is closed for good. */
  readonly onOutdated: () => void;
  /** Another window holds the database open and must be closed first. */
  readonly onBlocked: () => void;
}

/** One write transaction: its stores, and a record of what it touched. */
class Change {
  readonly touched: Touched[] = [];
  readonly #tx: IDBTransaction;

  constructor(tx: IDBTransaction) {
    this.#tx = tx;
  }

  store(name: StoreName): IDBObjectStore {
    return this.#tx.objectStore(name);
  }

  /** The stored row. Throws `MissingRow` when there is none. */
  async row(name: SharedStore, key: IDBValidKey): Promise<Row> {
    const row: unknown = await result(this.store(name).get(key));
    if (!isRow(row)) throw new MissingRow(name);
    return row;
  }

  put(name: SharedStore, row: Row): void {
    this.store(name).put(row);
    if (isKey(row["id"])) this.touched.push({ store: name, key: row["id"] });
  }

  delete(name: SharedStore, key: IDBValidKey): void {
    this.store(name).delete(key);
    this.touched.push({ store: name, key });
  }

  abort(): void {
    try {
      this.#tx.abort();
    } catch {
      // It has aborted or committed by itself.
    }
  }
}

function isNamed(error: unknown, name: string): boolean {
  return error instanceof DOMException && error.name === name;
}

/** The order stored in a list row, as an array that may be changed. */
function orderOf(list: Row): unknown[] {
  return [...asArray(list["order"])];
}

function without(order: readonly unknown[], key: IDBValidKey): unknown[] {
  return order.filter((entry) => idOf(entry) !== idOf(key));
}

/** Opens the board's database, creating its stores. */
export async function openBoard(factory: IDBFactory, name: string, hooks: Hooks): Promise<Board> {
  const board = new Board(factory, name, hooks);
  await board.connect();
  return board;
}

/** The open database and every action on it. */
export class Board {
  /** Called after each committed write of this tab, with the shared rows that it touched. */
  onCommit: (touched: readonly Touched[]) => void = () => undefined;
  /** Called when the browser took the connection away; the next action opens another one. */
  onLost: () => void = () => undefined;

  readonly #factory: IDBFactory;
  readonly #name: string;
  readonly #hooks: Hooks;
  #db: Promise<IDBDatabase> | null = null;
  #outdated = false;

  constructor(factory: IDBFactory, name: string, hooks: Hooks) {
    this.#factory = factory;
    this.#name = name;
    this.#hooks = hooks;
  }

  /** The connection; a lost one is opened again. */
  connect(): Promise<IDBDatabase> {
    if (this.#outdated) return Promise.reject(new Error("The board was updated in another window. Reload this one."));
    this.#db ??= this.#openPatiently().catch((error: unknown) => {
      this.#db = null;
      throw error;
    });
    return this.#db;
  }

  /** A browser that has just dropped its storage breaks off what is opened too soon after. */
  async #openPatiently(): Promise<IDBDatabase> {
    for (let delayMs = OPEN_DELAY_MS_MIN; ; delayMs *= 2) {
      try {
        return await this.#open();
      } catch (error) {
        if (!isNamed(error, "AbortError") || delayMs > OPEN_DELAY_MS_MAX) throw error;
        await new Promise((resolve) => setTimeout(resolve, delayMs));
      }
    }
  }

  async #open(): Promise<IDBDatabase> {
    const request = this.#factory.open(this.#name, VERSION);
    request.onupgradeneeded = () => {
      const db = request.result;
      db.createObjectStore("lists", { keyPath: "id" });
      db.createObjectStore("cards", { keyPath: "id" }).createIndex("list", "list");
      db.createObjectStore("labels", { keyPath: "id" });
      db.createObjectStore("activity", { autoIncrement: true });
    };
    request.onblocked = () => this.#hooks.onBlocked();
    const db = await result(request);
    db.onclose = () => {
      this.#db = null;
      this.onLost();
    };
    db.onversionchange = () => {
      this.#outdated = true;
      db.close();
      this.#hooks.onOutdated();
    };
    return db;
  }

  async #begin(stores: readonly StoreName[], mode: IDBTransactionMode): Promise<IDBTransaction> {
    const db = await this.connect();
    try {
      return db.transaction(stores, mode);
    } catch (error) {
      // The browser closed the connection (storage pressure, a crashed storage process): open it once more.
      if (!isNamed(error, "InvalidStateError")) throw error;
      this.#db = null;
      return (await this.connect()).transaction(stores, mode);
    }
  }

  /** Runs `body` in one transaction; resolves after the commit, rejects after the abort. */
  async #write<T>(stores: readonly StoreName[], body: (change: Change) => Promise<T> | T): Promise<T> {
    const tx = await this.#begin(stores, "readwrite");
    const end = committed(tx);
    // An abort may come before `end` is awaited below.
    end.catch(() => undefined);
    const change = new Change(tx);
    try {
      const value = await body(change);
      await end;
      this.onCommit(change.touched);
      return value;
    } catch (error) {
      change.abort();
      await end.catch(() => undefined);
      throw error;
    }
  }

  /** All shared rows, from one transaction. */
  async load(): Promise<Rows> {
    const tx = await this.#begin(SHARED_STORES, "readonly");
    const [lists, cards, labels] = await Promise.all(
      SHARED_STORES.map((store) => result<unknown[]>(tx.objectStore(store).getAll())),
    );
    return { lists: lists ?? [], cards: cards ?? [], labels: labels ?? [] };
  }

  /** The named rows as they are stored, undefined where there is none, from one transaction. */
  async read(wanted: readonly Touched[]): Promise<unknown[]> {
    const tx = await this.#begin(SHARED_STORES, "readonly");
    return Promise.all(wanted.map(({ store, key }) => result<unknown>(tx.objectStore(store).get(key))));
  }

  addList(name: string, position: number): Promise<string> {
    const id = crypto.randomUUID();
    return this.#write(["lists"], (change) => {
      change.put("lists", { id, name, position, order: [] });
      return id;
    });
  }

  /** Changes fields of one row as it is stored at that moment. */
  patch(store: SharedStore, key: IDBValidKey, edit: (row: Row) => void): Promise<void> {
    return this.#write([store], async (change) => {
      const row = await change.row(store, key);
      edit(row);
      change.put(store, row);
    });
  }

  /** Lets two lists change places. */
  swapLists(a: { key: IDBValidKey; position: number }, b: { key: IDBValidKey; position: number }): Promise<void> {
    return this.#write(["lists"], async (change) => {
      const [first, second] = [await change.row("lists", a.key), await change.row("lists", b.key)];
      // Equal positions (two people added a list at once) would make the swap invisible.
      const nudge = a.position === b.position ? 0.5 : 0;
      first["position"] = b.position + nudge;
      second["position"] = a.position;
      change.put("lists", first);
      change.put("lists", second);
    });
  }

  /** Deletes a list with its cards, in one transaction. */
  deleteList(key: IDBValidKey): Promise<Removed> {
    return this.#write(["lists", "cards"], async (change) => {
      const list = await change.row("lists", key);
      const cards: Row[] = [];
      const members = change.store("cards").index("list").openCursor(IDBKeyRange.only(key));
      await walk(members, (cursor) => {
        if (isRow(cursor.value)) cards.push(cursor.value);
        change.delete("cards", cursor.primaryKey);
      });
      change.delete("lists", key);
      return { lists: [list], cards };
    });
  }

  /** Adds a card at the end of a list: the card and the list's order change together. */
  addCard(list: IDBValidKey, title: string, author: string): Promise<string> {
    const id = crypto.randomUUID();
    return this.#write(["lists", "cards"], async (change) => {
      const target = await change.row("lists", list);
      target["order"] = [...(await this.#fullOrder(change, target, list)), id];
      change.put("lists", target);
      change.put("cards", newCard(id, list, title, author));
      return id;
    });
  }

  /** Moves a card into `list`, in front of the card `before` or to the end: up to three rows, one transaction. */
  moveCard(key: IDBValidKey, list: IDBValidKey, before: string | null): Promise<void> {
    return this.#write(["lists", "cards"], async (change) => {
      const card = await change.row("cards", key);
      const target = await change.row("lists", list);
      const from = card["list"];
      const order = without(await this.#fullOrder(change, target, list), key);
      const place = before === null ? -1 : order.findIndex((entry) => idOf(entry) === before);
      order.splice(place < 0 ? order.length : place, 0, key);
      target["order"] = order;
      change.put("lists", target);
      if (isKey(from) && idOf(from) === idOf(list)) return;
      await this.#removeFromOrder(change, from, key);
      card["list"] = list;
      change.put("cards", card);
    });
  }

  deleteCard(key: IDBValidKey): Promise<Removed> {
    return this.#write(["lists", "cards"], async (change) => {
      const card = await change.row("cards", key);
      await this.#removeFromOrder(change, card["list"], key);
      change.delete("cards", key);
      return { lists: [], cards: [card] };
    });
  }

  /** Puts deleted rows back, cards at the end of their list. */
  restore(removed: Removed): Promise<void> {
    return this.#write(["lists", "cards"], async (change) => {
      for (const list of removed.lists) change.put("lists", list);
      for (const card of removed.cards) {
        change.put("cards", card);
        if (removed.lists.length > 0 || !isKey(card["list"]) || !isKey(card["id"])) continue;
        const list: unknown = await result(change.store("lists").get(card["list"]));
        if (!isRow(list)) continue;
        list["order"] = [...without(orderOf(list), card["id"]), card["id"]];
        change.put("lists", list);
      }
    });
  }

  addLabel(name: string, color: string): Promise<string> {
    const id = crypto.randomUUID();
    return this.#write(["labels"], (change) => {
      change.put("labels", { id, name, color });
      return id;
    });
  }

  /** Deletes a label and takes it off every card that has it. */
  deleteLabel(key: IDBValidKey): Promise<void> {
    return this.#write(["labels", "cards"], async (change) => {
      change.delete("labels", key);
      await walk(change.store("cards").openCursor(), (cursor) => {
        const row: unknown = cursor.value;
        if (!isRow(row) || !asArray(row["labels"]).includes(key)) return;
        row["labels"] = without(asArray(row["labels"]), key);
        change.put("cards", row);
      });
    });
  }

  /** Changes one step of a checklist; an `edit` that returns null deletes the step. */
  editStep(card: IDBValidKey, step: string, edit: (step: Row) => Row | null): Promise<void> {
    return this.patch("cards", card, (row) => {
      const stored = asArray(row["checklist"]);
      row["checklist"] = stored.flatMap((item, place): unknown[] => {
        const known = asStep(item, place);
        if (known?.id !== step) return [item];
        const edited = edit(isRow(item) ? item : { ...known, id: crypto.randomUUID() });
        return edited ? [edited] : [];
      });
    });
  }

  /** Moves one step of a checklist `offset` places down, or up when negative. */
  moveStep(card: IDBValidKey, step: string, offset: number): Promise<void> {
    return this.patch("cards", card, (row) => {
      const steps = [...asArray(row["checklist"])];
      const from = steps.findIndex((item, place) => asStep(item, place)?.id === step);
      const to = from + offset;
      if (from < 0 || to < 0 || to >= steps.length) return;
      steps.splice(to, 0, ...steps.splice(from, 1));
      row["checklist"] = steps;
    });
  }

  /** Writes a whole board, for the sample data. */
  fill(rows: Readonly<Record<SharedStore, readonly Row[]>>): Promise<void> {
    return this.#write(SHARED_STORES, (change) => {
      for (const store of SHARED_STORES) for (const row of rows[store]) change.put(store, row);
    });
  }

  /** Adds to this device's activity and forgets the oldest entries. */
  log(entries: readonly Activity[]): Promise<void> {
    return this.#write(["activity"], async (change) => {
      const store = change.store("activity");
      for (const entry of entries) store.add(entry);
      let excess = (await result(store.count())) - ACTIVITY_MAX;
      if (excess <= 0) return;
      await walk(store.openCursor(), (cursor) => {
        cursor.delete();
        excess -= 1;
        return excess > 0;
      });
    });
  }

  /** This device's activity, latest first. */
  async activity(): Promise<Activity[]> {
    const tx = await this.#begin(["activity"], "readonly");
    const entries = await result<Activity[]>(tx.objectStore("activity").getAll());
    return entries.reverse();
  }

  /** The list's order with every card that belongs to it, also those that the stored order lacks. */
  async #fullOrder(change: Change, list: Row, key: IDBValidKey): Promise<unknown[]> {
    const order = orderOf(list);
    const known = new Set(order.map(idOf));
    const members = await result(change.store("cards").index("list").getAllKeys(key));
    return [...order, ...members.filter((member) => !known.has(idOf(member)))];
  }

  async #removeFromOrder(change: Change, list: unknown, key: IDBValidKey): Promise<void> {
    if (!isKey(list)) return;
    const row: unknown = await result(change.store("lists").get(list));
    if (!isRow(row) || !orderOf(row).some((entry) => idOf(entry) === idOf(key))) return;
    row["order"] = without(orderOf(row), key);
    change.put("lists", row);
  }
}

/** A card's row as the board creates it. */
export function newCard(id: string, list: IDBValidKey, title: string, author: string): Row {
  return {
    id,
    list,
    title,
    description: "",
    labels: [],
    votes: 0,
    assignee: "",
    due: null,
    checklist: [],
    done: false,
    createdAt: new Date(),
    createdBy: author,
  };
}
