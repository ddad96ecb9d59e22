/**
 * The board as the views see it, read from rows that anyone may have written.
 *
 * Rows are parsed once, here: whatever a foreign writer left out or mistyped gets a harmless stand-in, and nothing
 * after this point checks again. Writing back is done on the raw row (data.ts), so fields that the board does not
 * know survive.
 */

/** Colours a label can have; the stylesheet has a pair of tones for each. */
export const HUES = ["red", "orange", "amber", "green", "teal", "blue", "violet", "pink"] as const;
export type Hue = (typeof HUES)[number] | "gray";

/** One step of a card's checklist. `id` is its identity for the server's `list` strategy. */
export interface Step {
  readonly id: string;
  readonly text: string;
  readonly done: boolean;
}

export interface Card {
  readonly key: IDBValidKey;
  /** `key` as a string that is unique among the cards. */
  readonly id: string;
  /** Identity of its list, which need not exist. */
  readonly list: string;
  /** Never empty; a stand-in where the row has none. */
  readonly title: string;
  /** Whether `title` is a stand-in. */
  readonly untitled: boolean;
  readonly description: string;
  readonly labels: readonly string[];
  readonly votes: number | bigint;
  readonly assignee: string;
  readonly due: Date | null;
  readonly checklist: readonly Step[];
  readonly done: boolean;
  readonly createdAt: Date | null;
  readonly createdBy: string;
}

export interface Label {
  readonly key: IDBValidKey;
  readonly id: string;
  readonly name: string;
  readonly hue: Hue;
}

export interface List {
  /** Null for the column that gathers cards without a list. */
  readonly key: IDBValidKey | null;
  readonly id: string;
  readonly name: string;
  readonly position: number;
  /** In display order. */
  readonly cards: readonly Card[];
}

export interface BoardModel {
  readonly lists: readonly List[];
  readonly labels: ReadonlyMap<string, Label>;
  readonly cards: ReadonlyMap<string, Card>;
}

/** Rows of the three synced stores, unparsed. */
export interface Rows {
  readonly lists: readonly unknown[];
  readonly cards: readonly unknown[];
  readonly labels: readonly unknown[];
}

export type Row = Record<string, unknown>;

/** Identity of the column for cards whose list does not exist; no list can have it. */
export const UNSORTED_ID = "\u0000unsorted";

export const EMPTY_MODEL: BoardModel = { lists: [], labels: new Map(), cards: new Map() };

/** Whether `value` is an object whose fields can be read by name. */
export function isRow(value: unknown): value is Row {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

/** A string for any IndexedDB key, different for different keys; plain strings stay themselves. */
export function idOf(key: unknown): string {
  if (typeof key === "string") return key;
  if (key instanceof Date) return `\u0001date:${key.getTime()}`;
  if (Array.isArray(key)) return `\u0001array:${JSON.stringify(key.map(idOf))}`;
  if (key instanceof ArrayBuffer) return `\u0001binary:${new Uint8Array(key).join()}`;
  if (ArrayBuffer.isView(key)) {
    return `\u0001binary:${new Uint8Array(key.buffer, key.byteOffset, key.byteLength).join()}`;
  }
  return `\u0001${typeof key}:${String(key)}`;
}

/** Whether `value` can be used as an IndexedDB key. */
export function isKey(value: unknown): value is IDBValidKey {
  if (typeof value === "string") return true;
  if (typeof value === "number") return !Number.isNaN(value);
  if (value instanceof Date) return !Number.isNaN(value.getTime());
  if (Array.isArray(value)) return value.every(isKey);
  return value instanceof ArrayBuffer || ArrayBuffer.isView(value);
}

/** `value` as a date: a Date, or the ISO string that a writer without dates stores; otherwise null. */
export function asDate(value: unknown): Date | null {
  const date = value instanceof Date ? value : typeof value === "string" && value !== "" ? new Date(value) : null;
  return date && !Number.isNaN(date.getTime()) ? date : null;
}

/** `value` when it is an array, otherwise an empty one. */
export function asArray(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function asText(value: unknown): string {
  if (typeof value === "string") return value;
  return typeof value === "number" || typeof value === "bigint" || typeof value === "boolean" ? String(value) : "";
}

function asStrings(value: unknown): string[] {
  if (!Array.isArray(value) && !(value instanceof Set)) return [];
  return [...new Set([...value].filter((item): item is string => typeof item === "string"))];
}

function asFinite(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}

/** One step as stored at `place` of a checklist; a step without its own id is known by its place. */
export function asStep(item: unknown, place: number): Step | null {
  if (typeof item === "string") return { id: `#${place}`, text: item, done: false };
  if (!isRow(item)) return null;
  const id = typeof item["id"] === "string" ? item["id"] : `#${place}`;
  return { id, text: asText(item["text"]), done: item["done"] === true };
}

function asSteps(value: unknown): Step[] {
  return asArray(value).flatMap((item, place) => asStep(item, place) ?? []);
}

function parseCard(row: unknown): Card | null {
  if (!isRow(row) || !isKey(row["id"])) return null;
  const title = asText(row["title"]).trim();
  const votes = row["votes"];
  return {
    key: row["id"],
    id: idOf(row["id"]),
    list: isKey(row["list"]) ? idOf(row["list"]) : UNSORTED_ID,
    title: title || "Untitled card",
    untitled: title === "",
    description: asText(row["description"]),
    labels: asStrings(row["labels"]),
    votes: typeof votes === "bigint" ? votes : asFinite(votes),
    assignee: asText(row["assignee"]).trim(),
    due: asDate(row["due"]),
    checklist: asSteps(row["checklist"]),
    done: row["done"] === true,
    createdAt: asDate(row["createdAt"]),
    createdBy: asText(row["createdBy"]),
  };
}

function parseLabel(row: unknown): Label | null {
  if (!isRow(row) || !isKey(row["id"])) return null;
  const hue = HUES.find((known) => known === row["color"]) ?? "gray";
  return { key: row["id"], id: idOf(row["id"]), name: asText(row["name"]).trim() || "Unnamed", hue };
}

function byAge(a: Card, b: Card): number {
  return (a.createdAt?.getTime() ?? 0) - (b.createdAt?.getTime() ?? 0) || (a.id < b.id ? -1 : 1);
}

/** A list without its cards. */
interface ListRow {
  readonly key: IDBValidKey;
  readonly id: string;
  readonly name: string;
  readonly position: number;
  /** Identities of its cards in order; may lack some, and name some that are gone. */
  readonly order: readonly string[];
}

function parseList(row: unknown): ListRow | null {
  if (!isRow(row) || !isKey(row["id"])) return null;
  return {
    key: row["id"],
    id: idOf(row["id"]),
    name: asText(row["name"]).trim() || "Untitled list",
    position: asFinite(row["position"]),
    order: asArray(row["order"]).map(idOf),
  };
}

/** Parsed rows by identity. A row that did not change keeps its object, so that objects can be compared. */
export class Parsed {
  readonly #lists = new Map<string, ListRow>();
  readonly #cards = new Map<string, Card>();
  readonly #labels = new Map<string, Label>();
  #sortedLabels: ReadonlyMap<string, Label> | null = null;

  constructor(rows: Rows) {
    for (const row of rows.lists) keep(this.#lists, parseList(row));
    for (const row of rows.cards) keep(this.#cards, parseCard(row));
    for (const row of rows.labels) keep(this.#labels, parseLabel(row));
  }

  /** Takes over one row as it is stored; undefined when it was deleted. */
  take(store: keyof Rows, key: IDBValidKey, row: unknown): void {
    if (store === "labels") this.#sortedLabels = null;
    const rows = { lists: this.#lists, cards: this.#cards, labels: this.#labels }[store];
    if (row === undefined) rows.delete(idOf(key));
    else if (store === "lists") keep(this.#lists, parseList(row));
    else if (store === "cards") keep(this.#cards, parseCard(row));
    else keep(this.#labels, parseLabel(row));
  }

  /** Puts the rows together to a board. */
  assemble(): BoardModel {
    const byList = new Map<string, Card[]>();
    for (const card of this.#cards.values()) {
      const members = byList.get(card.list);
      if (members) members.push(card);
      else byList.set(card.list, [card]);
    }
    const lists = [...this.#lists.values()].map(({ order, ...list }): List => {
      const cards = arrange(byList.get(list.id) ?? [], order);
      byList.delete(list.id);
      return { ...list, cards };
    });
    lists.sort((a, b) => a.position - b.position || (a.id < b.id ? -1 : 1));
    const stray = [...byList.values()].flat().sort(byAge);
    if (stray.length > 0)
      lists.push({ key: null, id: UNSORTED_ID, name: "Unsorted", position: Infinity, cards: stray });
    return { lists, cards: new Map(this.#cards), labels: this.#labelsByName() };
  }

  #labelsByName(): ReadonlyMap<string, Label> {
    const labels = [...this.#labels.values()];
    labels.sort((a, b) => a.name.localeCompare(b.name) || (a.id < b.id ? -1 : 1));
    return (this.#sortedLabels ??= new Map(labels.map((label) => [label.id, label])));
  }
}

function keep<T extends { readonly id: string }>(rows: Map<string, T>, row: T | null): void {
  if (row) rows.set(row.id, row);
}

/** `cards` in the order that `order` names; those it does not name follow, oldest first. */
function arrange(cards: readonly Card[], order: readonly string[]): Card[] {
  const left = new Map(cards.map((card) => [card.id, card]));
  const arranged: Card[] = [];
  for (const id of order) {
    const card = left.get(id);
    if (card && left.delete(id)) arranged.push(card);
  }
  return [...arranged, ...[...left.values()].sort(byAge)];
}

/** Which cards are shown: those that match `text` (title, description, assignee) and have all `labels`. */
export interface Filter {
  readonly text: string;
  readonly labels: ReadonlySet<string>;
}

export const NO_FILTER: Filter = { text: "", labels: new Set() };

export function isFiltering(filter: Filter): boolean {
  return filter.text.trim() !== "" || filter.labels.size > 0;
}

export function matches(card: Card, filter: Filter): boolean {
  for (const label of filter.labels) if (!card.labels.includes(label)) return false;
  if (filter.text === "") return true;
  const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
  const haystack = `${card.title}\n${card.description}\n${card.assignee}`.toLowerCase();
  return words.every((word) => haystack.includes(word));
}

/** A difference of two boards, in words for a person. */
export interface Difference {
  /** The row that differs: its store and display identity. */
  readonly subject: string;
  /** The card it is about, unless that is gone. */
  readonly card: string | null;
  readonly text: string;
}

const COMPARED = ["title", "description", "labels", "votes", "assignee", "due", "checklist", "done", "list"] as const;

function plain(value: Card[(typeof COMPARED)[number]]): string {
  return JSON.stringify(value, (_, inner: unknown) => (typeof inner === "bigint" ? String(inner) : inner));
}

/** How one card's change reads, for example "“Ship it” moved to Done"; null when nothing visible changed. */
function describeCard(before: Card, after: Card, listName: (id: string) => string): string | null {
  const changed: string[] = COMPARED.filter((field) => plain(before[field]) !== plain(after[field]));
  if (changed.length === 0) return null;
  const name = `“${after.title}”`;
  if (changed.includes("list")) return `${name} moved to ${listName(after.list)}`;
  if (changed.includes("title")) return `“${before.title}” renamed to ${name}`;
  if (changed.includes("done")) return after.done ? `${name} was completed` : `${name} was reopened`;
  if (changed.length === 1 && changed[0] === "votes") return `${name} has ${after.votes} votes`;
  return `${name}: ${changed.join(", ")} changed`;
}

/** What happened between two states of the board. */
export function compare(before: BoardModel, after: BoardModel): Difference[] {
  const listName = (id: string): string => after.lists.find((list) => list.id === id)?.name ?? "Unsorted";
  const found: Difference[] = [];
  const add = (store: "cards" | "lists", id: string, card: string | null, text: string | null): void => {
    if (text !== null) found.push({ subject: `${store}:${id}`, card, text });
  };
  for (const card of after.cards.values()) {
    const old = before.cards.get(card.id);
    if (old === card) continue;
    const text = old ? describeCard(old, card, listName) : `“${card.title}” was added to ${listName(card.list)}`;
    add("cards", card.id, card.id, text);
  }
  for (const card of before.cards.values()) {
    if (!after.cards.has(card.id)) add("cards", card.id, null, `“${card.title}” was deleted`);
  }
  const known = new Map(before.lists.map((list) => [list.id, list]));
  for (const list of after.lists.filter((each) => each.key !== null)) {
    const old = known.get(list.id);
    known.delete(list.id);
    if (!old) add("lists", list.id, null, `List “${list.name}” was added`);
    else if (old.name !== list.name) add("lists", list.id, null, `List “${old.name}” renamed to “${list.name}”`);
  }
  for (const list of known.values()) {
    if (list.key !== null) add("lists", list.id, null, `List “${list.name}” was deleted`);
  }
  return found;
}

/**
 * The text a person meant, when the stored text changed while they typed: their one edit, from `base` to `mine`, made
 * on `current`. Where both edits touch the same place, `mine` stands and the engine's conflict log has the rest.
 */
export function retype(base: string, mine: string, current: string): string {
  if (current === base) return mine;
  const edit = splice(base, mine);
  const other = splice(base, current);
  if (edit.end <= other.start) return current.slice(0, edit.start) + edit.text + current.slice(edit.end);
  if (edit.start >= other.end) {
    const shift = current.length - base.length;
    return current.slice(0, edit.start + shift) + edit.text + current.slice(edit.end + shift);
  }
  return mine;
}

/** The smallest single replacement that turns `from` into `to`: `from[start, end)` becomes `text`. */
export function splice(from: string, to: string): { start: number; end: number; text: string } {
  const shorter = Math.min(from.length, to.length);
  let start = 0;
  while (start < shorter && from[start] === to[start]) start += 1;
  let tail = 0;
  while (tail < shorter - start && from[from.length - 1 - tail] === to[to.length - 1 - tail]) tail += 1;
  return { start, end: from.length - tail, text: to.slice(start, to.length - tail) };
}
