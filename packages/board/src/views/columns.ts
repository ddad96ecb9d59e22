/** The columns of the board: lists, their cards, and the places to add to them. */
import { arrangeChildren, fill, h, icon } from "../dom.ts";
import { plural } from "../format.ts";
import { isFiltering, type List } from "../model.ts";
import type { Column, Session } from "../session.ts";
import { CardFace, type CardActions } from "./card-face.ts";
import { openMenu, type MenuItem } from "./menu.ts";

/** One list as a column. It lives as long as its list, so that what is typed in it survives a redraw. */
class ColumnView {
  readonly element: HTMLElement;
  readonly #session: Session;
  #list: List;
  readonly #heading = h("h2", "column-name");
  readonly #count = h("span", { class: "column-count", testid: "list-count" });
  readonly #cards = h("ul", { class: "cards", testid: "cards" });
  readonly #hint = h("p", "column-hint");
  readonly #foot = h("div", "column-foot");
  #name = "";

  constructor(session: Session, list: List) {
    this.#session = session;
    this.#list = list;
    const menu = h(
      "button",
      {
        class: "icon-button",
        testid: "list-menu",
        "aria-haspopup": "menu",
        onclick: () => this.#openMenu(menu),
      },
      icon("more"),
    );
    const head = h("header", "column-head", this.#heading, this.#count, list.key !== null && menu);
    this.element = h(
      "section",
      { class: "column", testid: "list", "data-list-id": list.id },
      head,
      this.#cards,
      this.#hint,
      this.#foot,
    );
    if (list.key === null) this.element.classList.add("is-unsorted");
    else this.#showAdd();
  }

  update(column: Column, faces: readonly CardFace[]): void {
    this.#list = column.list;
    this.#drawName();
    const shown = column.cards.length;
    const total = column.list.cards.length;
    const filtering = isFiltering(this.#session.filter);
    fill(this.#count, filtering ? `${shown}/${total}` : shown);
    this.#count.title = plural(total, "card");
    arrangeChildren(
      this.#cards,
      faces.map((face) => face.element),
    );
    fill(this.#hint, this.#hintFor(shown, filtering && total > 0));
  }

  /** Opens the field for a card of this list. */
  compose(): void {
    if (this.#list.key === null) return;
    const field = h("textarea", {
      class: "field",
      rows: 2,
      placeholder: "What is to be done?",
      testid: "new-card-title",
    });
    const close = (): void => {
      this.#showAdd();
      this.#foot.querySelector("button")?.focus();
    };
    openComposer(this.#foot, field, `New card in ${this.#list.name}`, (title) => void this.#addCard(title), close);
  }

  #showAdd(): void {
    const props = { class: "add-card", testid: "add-card", onclick: () => this.compose() };
    fill(this.#foot, h("button", props, icon("plus"), "Add a card"));
  }

  async #addCard(title: string): Promise<void> {
    const { key } = this.#list;
    if (key === null) return;
    await this.#session.run((board) => board.addCard(key, title, this.#session.who.name));
    this.#cards.scrollTop = this.#cards.scrollHeight;
  }

  #hintFor(shown: number, filtered: boolean): string | null {
    if (this.#list.key === null) return "The list of these cards does not exist. Move them to one that does.";
    if (shown > 0) return null;
    return filtered ? "No card matches the filter." : "No cards yet. Drop one here.";
  }

  #drawName(): void {
    const { name, key } = this.#list;
    if (this.#name === name && this.#heading.firstChild) return;
    this.#name = name;
    this.element.setAttribute("aria-label", `List ${name}`);
    this.element.querySelector("[data-testid=list-menu]")?.setAttribute("aria-label", `Actions for list ${name}`);
    if (this.#heading.querySelector("input") === document.activeElement && document.activeElement) return;
    const rename = {
      class: "column-rename",
      title: "Rename",
      testid: "list-name",
      onclick: () => this.#rename(),
    };
    fill(this.#heading, key === null ? name : h("button", rename, name));
  }

  #rename(): void {
    const { key, name } = this.#list;
    if (key === null) return;
    let cancelled = false;
    const field = h("input", { class: "field", value: name, "aria-label": "List name", testid: "list-name-field" });
    const close = (): void => {
      const typed = field.value.trim();
      fill(this.#heading);
      this.#drawName();
      if (cancelled || !typed || typed === name) return;
      void this.#session.run((board) => board.patch("lists", key, (row) => (row["name"] = typed)));
    };
    field.addEventListener("blur", close, { once: true });
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== "Escape") return;
      event.stopPropagation();
      cancelled = event.key === "Escape";
      field.blur();
      this.#heading.querySelector("button")?.focus();
    });
    fill(this.#heading, field);
    field.focus();
    field.select();
  }

  #openMenu(anchor: HTMLElement): void {
    const session = this.#session;
    const list = this.#list;
    const lists = session.model.lists.filter((other) => other.key !== null);
    const at = lists.findIndex((other) => other.id === list.id);
    const swap = (other: List | undefined, label: string): MenuItem[] => {
      const [mine, theirs] = [list.key, other?.key];
      if (!other || mine === null || theirs === null || theirs === undefined) return [];
      const places = [
        { key: mine, position: list.position },
        { key: theirs, position: other.position },
      ] as const;
      return [{ label, run: () => void session.run((board) => board.swapLists(...places)) }];
    };
    openMenu(anchor, `Actions for list ${list.name}`, [
      { label: "Add a card", icon: "plus", run: () => this.compose() },
      { label: "Rename", testid: "list-rename", run: () => this.#rename() },
      ...swap(lists[at - 1], "Move left"),
      ...swap(lists[at + 1], "Move right"),
      {
        label: "Delete list",
        icon: "trash",
        danger: true,
        testid: "list-delete",
        run: () => void session.deleteList(list),
      },
    ]);
  }
}

/** All columns, kept in step with the session. */
export class Columns {
  readonly element: HTMLElement = h("div", { class: "columns", testid: "columns" });
  readonly #session: Session;
  readonly #actions: CardActions;
  readonly #views = new Map<string, ColumnView>();
  readonly #faces = new Map<string, CardFace>();
  readonly #adder: HTMLElement;
  /** The one card that Tab reaches. */
  #reachable: CardFace | undefined;

  constructor(session: Session, actions: CardActions) {
    this.#session = session;
    this.#actions = actions;
    this.#adder = h("div", "column-adder");
    this.#showAdder();
    this.element.addEventListener("focusin", (event) => {
      const id = cardIdOf(event.target);
      if (id !== null && id !== session.focus) this.setFocus(id, false);
    });
  }

  draw(changed: ReadonlySet<string>): void {
    const session = this.#session;
    const columns = session.columns();
    const hadFocus = cardIdOf(document.activeElement);
    const drawn = columns.map((column) => {
      const view = this.#viewOf(column.list);
      view.update(
        column,
        column.cards.map((card) => {
          const face = this.#faceOf(card.id);
          face.update(card, session.model.labels, session.carry?.card === card.id);
          return face;
        }),
      );
      return view.element;
    });
    arrangeChildren(this.element, [...drawn, this.#adder]);
    this.#forget(columns);
    for (const id of changed) this.#faces.get(id)?.flash();
    this.setFocus(session.focus, false);
    // Moving an element in the document takes the focus from it.
    if (hadFocus !== null && cardIdOf(document.activeElement) !== hadFocus) this.setFocus(hadFocus, true);
  }

  /** Makes `card` the one that Tab reaches; with `take`, moves the focus there and scrolls to it. */
  setFocus(card: string | null, take: boolean): void {
    const session = this.#session;
    const wanted = card !== null && this.#faces.has(card) ? card : cardOf(this.element.querySelector(".card"));
    const face = this.#faces.get(wanted ?? "");
    session.focus = wanted;
    if (this.#reachable !== face) this.#reachable?.button.setAttribute("tabindex", "-1");
    this.#reachable = face;
    if (!face) return;
    face.button.tabIndex = 0;
    if (!take) return;
    face.button.focus({ preventScroll: true });
    face.element.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** Opens the field for a card in the list of the focused card, otherwise in the first list. */
  compose(): void {
    const list = this.#session.place(this.#session.focus ?? "")?.column.list ?? this.#session.model.lists[0];
    if (list) this.#views.get(list.id)?.compose();
  }

  /** Opens the field for another list. */
  composeList(): void {
    const field = h("input", { class: "field", placeholder: "Name of the list", testid: "new-list-name" });
    const add = async (name: string): Promise<void> => {
      const places = this.#session.model.lists.flatMap((list) => (list.key === null ? [] : list.position));
      await this.#session.run((board) => board.addList(name, Math.max(0, ...places) + 1));
      this.#adder.scrollIntoView({ inline: "end", block: "nearest" });
    };
    openComposer(
      this.#adder,
      field,
      "New list",
      (name) => void add(name),
      () => this.#showAdder(),
    );
  }

  #showAdder(): void {
    const props = { class: "add-list", testid: "add-list", onclick: () => this.composeList() };
    fill(this.#adder, h("button", props, icon("plus"), "Add a list"));
  }

  #viewOf(list: List): ColumnView {
    const view = this.#views.get(list.id) ?? new ColumnView(this.#session, list);
    this.#views.set(list.id, view);
    return view;
  }

  #faceOf(card: string): CardFace {
    const face = this.#faces.get(card) ?? new CardFace(card, this.#actions);
    this.#faces.set(card, face);
    return face;
  }

  /** Drops the elements of lists and cards that are not shown. */
  #forget(columns: readonly Column[]): void {
    const lists = new Set(columns.map((column) => column.list.id));
    const cards = new Set(columns.flatMap((column) => column.cards.map((card) => card.id)));
    for (const id of this.#views.keys()) if (!lists.has(id)) this.#views.delete(id);
    for (const id of this.#faces.keys()) if (!cards.has(id)) this.#faces.delete(id);
  }
}

/** Puts a form for one text into `place`: Enter adds and leaves it open for the next one, Escape closes it. */
function openComposer(
  place: HTMLElement,
  field: HTMLInputElement | HTMLTextAreaElement,
  name: string,
  add: (text: string) => void,
  close: () => void,
): void {
  const submit = (): void => {
    const text = field.value.trim();
    field.value = "";
    field.focus();
    if (text) add(text);
  };
  field.setAttribute("aria-label", name);
  field.addEventListener("keydown", (event: Event) => {
    if (!(event instanceof KeyboardEvent) || event.isComposing) return;
    if (event.key === "Escape") close();
    else if (event.key === "Enter" && !event.shiftKey) submit();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  const primary = h("button", { class: "button is-primary", testid: "composer-add", onclick: submit }, "Add");
  const closer = h("button", { class: "button", onclick: close }, "Close");
  fill(place, h("div", "composer", field, h("div", "row", primary, closer)));
  field.focus();
}

/** The card whose own button `target` is, null for anything else. */
export function cardIdOf(target: EventTarget | null): string | null {
  if (!(target instanceof HTMLElement) || !target.classList.contains("card-open")) return null;
  return cardOf(target);
}

/** The card that an element belongs to. */
function cardOf(element: Element | null): string | null {
  return element?.closest<HTMLElement>("[data-card-id]")?.dataset["cardId"] ?? null;
}
