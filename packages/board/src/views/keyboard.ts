/** The board by keyboard: arrows move the focus among cards, or the card that Space has picked up. */
import type { Session } from "../session.ts";
import { cardIdOf, type Columns } from "./columns.ts";

const ARROWS: Readonly<Record<string, readonly [number, number]>> = {
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
};

/** What the keys that are not about one card do. */
export interface Shortcuts {
  search(): void;
  help(): void;
  vote(card: string): void;
  toggleDone(card: string): void;
}

/** Whether a key press belongs to a field or a dialog and not to the board. */
function isTyping(target: EventTarget | null): boolean {
  if (document.querySelector("dialog[open]")) return true;
  return target instanceof HTMLElement && target.closest("input, textarea, select, [popover]") !== null;
}

export class Keyboard {
  readonly #session: Session;
  readonly #columns: Columns;
  readonly #shortcuts: Shortcuts;

  constructor(session: Session, columns: Columns, shortcuts: Shortcuts) {
    this.#session = session;
    this.#columns = columns;
    this.#shortcuts = shortcuts;
    columns.element.addEventListener("keydown", (event) => this.#onCardKey(event));
    // A button clicks when Space is released: that click would open the card.
    columns.element.addEventListener("keyup", (event) => {
      if (event.key === " " && cardIdOf(event.target) !== null) event.preventDefault();
    });
    columns.element.addEventListener("focusout", (event) => {
      if (session.carry?.by === "keyboard" && event.relatedTarget instanceof Element) this.#cancel();
    });
    addEventListener("keydown", (event) => this.#onBoardKey(event));
  }

  #onBoardKey(event: KeyboardEvent): void {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    const run = { "/": this.#shortcuts.search, "?": this.#shortcuts.help, n: () => this.#columns.compose() }[event.key];
    if (event.key === "l") this.#columns.composeList();
    else if (run) run();
    else return;
    event.preventDefault();
  }

  #onCardKey(event: KeyboardEvent): void {
    const card = cardIdOf(event.target);
    if (card === null || event.ctrlKey || event.metaKey || event.altKey) return;
    if (this.#session.carry ? this.#carryKey(event.key) : this.#browseKey(event.key, card)) event.preventDefault();
  }

  /** A key while a card is carried. Returns whether it meant something. */
  #carryKey(key: string): boolean {
    const arrow = ARROWS[key];
    if (arrow) this.#shift(...arrow);
    else if (key === " " || key === "Enter") void this.#drop();
    else if (key === "Escape") this.#cancel();
    else return false;
    return true;
  }

  #browseKey(key: string, card: string): boolean {
    const arrow = ARROWS[key];
    if (arrow) this.#walk(card, ...arrow);
    else if (key === " ") this.#pickUp(card);
    else if (key === "Home" || key === "End") this.#jump(card, key === "Home");
    else if (key === "v") this.#shortcuts.vote(card);
    else if (key === "x") this.#shortcuts.toggleDone(card);
    else if (key === "Delete") this.#delete(card);
    else return false;
    return true;
  }

  /** Moves the focus to the neighbour in a direction; sideways it passes over empty columns. */
  #walk(card: string, dx: number, dy: number): void {
    const place = this.#session.place(card);
    if (!place) return;
    if (dy !== 0) return this.#columns.setFocus(place.column.cards[place.y + dy]?.id ?? card, true);
    for (let x = place.x + dx; place.columns[x]; x += dx) {
      const cards = place.columns[x]?.cards ?? [];
      const next = cards[Math.min(place.y, cards.length - 1)];
      if (next) return this.#columns.setFocus(next.id, true);
    }
  }

  #jump(card: string, first: boolean): void {
    const cards = this.#session.place(card)?.column.cards ?? [];
    this.#columns.setFocus(cards.at(first ? 0 : -1)?.id ?? card, true);
  }

  #delete(id: string): void {
    const place = this.#session.place(id);
    const card = this.#session.card(id);
    if (!place || !card) return;
    const next = place.column.cards[place.y + 1] ?? place.column.cards[place.y - 1];
    void this.#session.deleteCard(card).then(() => this.#columns.setFocus(next?.id ?? null, true));
  }

  #pickUp(card: string): void {
    const place = this.#session.place(card);
    if (!place) return;
    this.#session.setCarry({ card, list: place.column.list.id, index: place.y, by: "keyboard" });
    this.#session.voice.announce(
      `Picked up. Arrow keys move the card, Space drops it, Escape cancels. ${this.#position(card)}`,
    );
  }

  #shift(dx: number, dy: number): void {
    const session = this.#session;
    const card = session.carry?.card ?? "";
    const place = session.place(card);
    const column = place?.columns[place.x + dx];
    if (!place || !column || column.list.key === null) return;
    const most = dx === 0 ? column.cards.length - 1 : column.cards.length;
    const index = Math.max(0, Math.min(place.y + dy, most));
    session.setCarry({ card, list: column.list.id, index, by: "keyboard" });
    this.#columns.setFocus(card, true);
    session.voice.announce(this.#position(card));
  }

  async #drop(): Promise<void> {
    const card = this.#session.carry?.card ?? "";
    const position = this.#position(card);
    await this.#session.drop();
    this.#columns.setFocus(card, true);
    this.#session.voice.announce(`Dropped. ${position}`);
  }

  #cancel(): void {
    this.#session.setCarry(null);
    this.#session.voice.announce("Move cancelled.");
  }

  #position(card: string): string {
    const place = this.#session.place(card);
    return place ? `${place.column.list.name}, ${place.y + 1} of ${place.column.cards.length}.` : "";
  }
}
