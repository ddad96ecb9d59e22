/** What one window shows: the board as last read, the filter, the card being carried; and how actions run. */
import { SHARED_STORES, type Activity, type Board, type Removed, type SharedStore, type Touched } from "./data.ts";
import { reasonOf } from "./format.ts";
import type { Identity } from "./identity.ts";
import {
  compare,
  EMPTY_MODEL,
  idOf,
  matches,
  NO_FILTER,
  Parsed,
  type BoardModel,
  type Card,
  type Difference,
  type Filter,
  type List,
} from "./model.ts";
import type { Connection } from "./sync.ts";

/** A card that is being moved, at the place where it would be dropped. */
export interface Carry {
  readonly card: string;
  readonly list: string;
  /** Place among the visible cards of `list` without the carried one. */
  readonly index: number;
  readonly by: "keyboard" | "pointer";
}

/** A list as shown: filtered, and with the carried card at its preview place. */
export interface Column {
  readonly list: List;
  readonly cards: readonly Card[];
}

/** What the session asks of the surface to tell the person. */
export interface Voice {
  toast(text: string, action?: { label: string; run: () => void }): void;
  problem(text: string): void;
  /** Speaks through the live region only. */
  announce(text: string): void;
}

/** Changes by others up to this number are told one by one. */
const TOLD_SINGLY_MAX = 2;
/** Above this number of changed rows the whole board is read, which is then faster. */
const READ_SINGLY_MAX = 300;
/** Most entries that one read of the board adds to the activity of this device. */
const LOGGED_MAX = 50;

export class Session {
  readonly board: Board;
  readonly connection: Connection;
  readonly who: Identity;
  readonly voice: Voice;
  model: BoardModel = EMPTY_MODEL;
  loaded = false;
  filter: Filter = NO_FILTER;
  carry: Carry | null = null;
  /** The card that the keyboard acts on. */
  focus: string | null = null;

  readonly #listeners = new Set<(changed: ReadonlySet<string>) => void>();
  /** Rows written by this window since the last read ("store:id"): their changes are not news. */
  #own = new Set<string>();
  /** Rows that others wrote since the last read, by "store:id"; null: every row is to be read. */
  #stale: Map<string, Touched> | null = null;
  #parsed = new Parsed({ lists: [], cards: [], labels: [] });
  #remoteSeen = false;
  #reading: Promise<void> = Promise.resolve();
  #queued = false;

  constructor(board: Board, connection: Connection, who: Identity, voice: Voice) {
    this.board = board;
    this.connection = connection;
    this.who = who;
    this.voice = voice;
    board.onCommit = (touched) => this.#committed(touched);
    board.onLost = () => {
      this.#stale = null;
      this.loaded = false;
      voice.problem("The browser closed the board's storage. What it kept is shown.");
      void this.refresh();
    };
    connection.sync.on("change", ({ store, keys, origin }) => {
      const shared = SHARED_STORES.find((name) => name === store);
      if (!shared) return;
      if (origin === "remote") this.#remoteSeen = true;
      this.#touch(shared, keys);
      void this.refresh();
    });
  }

  /** `listener` is called when the view must be drawn again, with the cards that others changed. */
  subscribe(listener: (changed: ReadonlySet<string>) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  draw(changed: ReadonlySet<string> = new Set()): void {
    for (const listener of this.#listeners) listener(changed);
  }

  setFilter(filter: Filter): void {
    this.filter = filter;
    this.draw();
  }

  setCarry(carry: Carry | null): void {
    this.carry = carry;
    this.draw();
  }

  card(id: string): Card | undefined {
    return this.model.cards.get(id);
  }

  /** The columns as shown. */
  columns(): Column[] {
    const carry = this.carry;
    const filter = this.filter;
    const carried = carry ? this.card(carry.card) : undefined;
    return this.model.lists.map((list) => {
      const cards = list.cards.filter((card) => card !== carried && matches(card, filter));
      if (carried && carry?.list === list.id) cards.splice(carry.index, 0, carried);
      return { list, cards };
    });
  }

  /** Where a card is shown. */
  place(card: string): { column: Column; columns: Column[]; x: number; y: number } | null {
    const columns = this.columns();
    for (const [x, column] of columns.entries()) {
      const y = column.cards.findIndex((shown) => shown.id === card);
      if (y >= 0) return { column, columns, x, y };
    }
    return null;
  }

  /** Reads the board again; calls that come while one is waiting are joined with it. */
  refresh(): Promise<void> {
    if (this.#queued) return this.#reading;
    this.#queued = true;
    this.#reading = this.#reading.then(() => this.#read()).catch((error: unknown) => this.failed(error));
    return this.#reading;
  }

  /** Runs an action of the person; tells when it failed. Resolves to undefined then. */
  async run<T>(action: (board: Board) => Promise<T>): Promise<T | undefined> {
    try {
      const value = await action(this.board);
      await this.refresh();
      return value;
    } catch (error) {
      this.failed(error);
      await this.refresh();
      return undefined;
    }
  }

  /** Drops the carried card where it is. */
  async drop(): Promise<void> {
    const carry = this.carry;
    const place = carry && this.place(carry.card);
    if (!carry || !place) return this.setCarry(null);
    const { list, cards } = place.column;
    const card = this.card(carry.card);
    const before = cards[place.y + 1]?.id ?? null;
    this.carry = null;
    if (!card || list.key === null || (card.list === list.id && !this.#moved(card, before))) return this.draw();
    const target = list.key;
    await this.run((board) => board.moveCard(card.key, target, before));
  }

  /** Deletes a card and offers to put it back. */
  async deleteCard(card: Card): Promise<void> {
    this.#offerUndo(`“${card.title}” was deleted`, await this.run((board) => board.deleteCard(card.key)));
  }

  async deleteList(list: List): Promise<void> {
    const { key } = list;
    if (key === null) return;
    this.#offerUndo(`List “${list.name}” was deleted`, await this.run((board) => board.deleteList(key)));
  }

  /** Whether dropping `card` in front of `before` in its own list changes the visible order. */
  #moved(card: Card, before: string | null): boolean {
    const shown = this.columns().find((column) => column.list.id === card.list)?.cards ?? [];
    const place = shown.findIndex((other) => other.id === card.id);
    return (shown[place + 1]?.id ?? null) !== before;
  }

  #offerUndo(text: string, removed: Removed | undefined): void {
    if (!removed) return;
    this.voice.toast(text, { label: "Undo", run: () => void this.run((board) => board.restore(removed)) });
  }

  #committed(touched: readonly Touched[]): void {
    for (const { store, key } of touched) {
      this.#own.add(`${store}:${idOf(key)}`);
      this.#touch(store, [key]);
    }
    if (touched.length > 0) this.connection.announce(touched);
  }

  /** Notes that rows are to be read again; `keys` null: all of them. */
  #touch(store: SharedStore, keys: readonly IDBValidKey[] | null): void {
    if (keys === null) this.#stale = null;
    else for (const key of keys) this.#stale?.set(`${store}:${idOf(key)}`, { store, key });
  }

  async #read(): Promise<void> {
    this.#queued = false;
    const own = this.#own;
    const remote = this.#remoteSeen;
    const stale = this.#stale;
    this.#own = new Set();
    this.#remoteSeen = false;
    this.#stale = new Map();
    const before = this.model;
    try {
      await this.#readRows(stale && stale.size <= READ_SINGLY_MAX ? [...stale.values()] : null);
    } catch (error) {
      this.#stale = null;
      throw error;
    }
    this.model = this.#parsed.assemble();
    const all = this.loaded ? compare(before, this.model) : [];
    const news = all.filter((item) => !own.has(item.subject));
    this.loaded = true;
    const target = this.carry?.list;
    if (target !== undefined && !this.model.lists.some((list) => list.id === target)) this.carry = null;
    this.draw(new Set(news.flatMap((item) => item.card ?? [])));
    if (remote || this.connection.mode === "local") this.#tell(news);
    // One tab keeps the record of what others did, each tab that of what was done in it.
    const kept = remote && this.connection.sync.status.leader ? all : all.filter((item) => own.has(item.subject));
    await this.#log(kept.map(({ subject, text, card }) => ({ at: new Date(), text, card, mine: own.has(subject) })));
  }

  async #readRows(wanted: readonly Touched[] | null): Promise<void> {
    if (!wanted) {
      this.#parsed = new Parsed(await this.board.load());
      return;
    }
    const rows = await this.board.read(wanted);
    for (const [place, { store, key }] of wanted.entries()) this.#parsed.take(store, key, rows[place]);
  }

  #tell(news: readonly Difference[]): void {
    if (news.length > TOLD_SINGLY_MAX) this.voice.toast(`${news.length} changes by others`);
    else for (const item of news) this.voice.toast(item.text);
  }

  async #log(entries: readonly Activity[]): Promise<void> {
    if (entries.length > 0) await this.board.log(entries.slice(-LOGGED_MAX));
  }

  /** Tells the person what went wrong. */
  failed(error: unknown): void {
    this.voice.problem(reasonOf(error));
  }
}
