/** One card, open: every field saves by itself, and shows what others change meanwhile. */
import { fill, h, icon, type Child } from "../dom.ts";
import { formatMoment, fromDateInput, plural, toDateInput } from "../format.ts";
import { retype, type Card } from "../model.ts";
import type { Session } from "../session.ts";
import { BoundText } from "./bound-text.ts";
import { Checklist } from "./checklist.ts";
import { openDialog } from "./dialog.ts";
import { LabelPicker } from "./label-picker.ts";

/** Opens the dialog of a card; does nothing when the card is gone. */
export function openCard(session: Session, id: string): void {
  const card = session.card(id);
  if (card) new CardDialog(session, card).open();
}

/** Adds to a card's votes. The server adds up what several people do at once. */
export function vote(session: Session, id: string, amount: 1 | -1): void {
  const card = session.card(id);
  if (!card) return;
  void session.run((board) =>
    board.patch("cards", card.key, (row) => {
      const votes = row["votes"];
      row["votes"] =
        typeof votes === "bigint" ? votes + BigInt(amount) : (Number.isFinite(votes) ? Number(votes) : 0) + amount;
    }),
  );
}

export function setDone(session: Session, card: Card, done: boolean): void {
  void session.run((board) => board.patch("cards", card.key, (row) => (row["done"] = done)));
}

class CardDialog {
  readonly #session: Session;
  readonly #id: string;
  readonly #key: IDBValidKey;
  readonly #title: BoundText<HTMLTextAreaElement>;
  readonly #description: BoundText<HTMLTextAreaElement>;
  readonly #assignee: BoundText<HTMLInputElement>;
  readonly #due: HTMLInputElement;
  readonly #list: HTMLSelectElement;
  readonly #done: HTMLInputElement;
  readonly #votes = h("output", { testid: "dialog-votes" });
  readonly #people = h("datalist", { id: "people" });
  readonly #labels: LabelPicker;
  readonly #checklist: Checklist;
  #dialog: HTMLDialogElement | null = null;

  constructor(session: Session, card: Card) {
    this.#session = session;
    this.#id = card.id;
    this.#key = card.key;
    const title = h("textarea", { class: "field is-title", rows: 1, "aria-label": "Title", testid: "card-title" });
    title.addEventListener("keydown", (event) => {
      if (event.key === "Enter") event.preventDefault();
    });
    this.#title = this.#bind(title, "title", true);
    const description = { class: "field is-description", rows: 4, testid: "card-description" };
    const hint = "Details, links, what “done” means …";
    this.#description = this.#bind(
      h("textarea", { ...description, id: "card-description", placeholder: hint }),
      "description",
      false,
    );
    const assignee = {
      class: "field",
      id: "card-assignee",
      list: "people",
      placeholder: "Nobody",
      testid: "card-assignee",
    };
    this.#assignee = this.#bind(h("input", assignee), "assignee", false);
    this.#due = h("input", { class: "field", type: "date", id: "card-due", testid: "card-due" });
    this.#due.addEventListener("change", () => {
      const due = fromDateInput(this.#due.value);
      void session.run((board) => board.patch("cards", this.#key, (row) => (row["due"] = due)));
    });
    this.#list = h("select", { class: "field", id: "card-list", testid: "card-list" });
    this.#list.addEventListener("change", () => this.#moveTo(this.#list.value));
    this.#done = h("input", { type: "checkbox", testid: "card-done" });
    this.#done.addEventListener("change", () => {
      const current = session.card(this.#id);
      if (current) setDone(session, current, this.#done.checked);
    });
    this.#labels = new LabelPicker(session, card.key);
    this.#checklist = new Checklist(session, card.key);
  }

  open(): void {
    const stop = this.#session.subscribe(() => this.#update());
    const close = (): void => {
      stop();
      for (const text of [this.#title, this.#description, this.#assignee]) text.commit();
      this.#checklist.commit();
    };
    const main = h(
      "div",
      "card-main",
      section("Description", "card-description", this.#description.element),
      section("Checklist", null, this.#checklist.element),
    );
    const title = this.#session.card(this.#id)?.title ?? "Card";
    const heading = h("div", "card-heading", this.#title.element);
    this.#dialog = openDialog(
      { title, testid: "card-dialog", heading, kind: "wide", onClose: close },
      h("div", "card-columns", main, this.#side()),
    );
    this.#update();
    // The first field would open the keyboard of a phone; the heading takes the focus only from a real keyboard.
    if (matchMedia("(pointer: fine)").matches) this.#title.element.focus();
  }

  #side(): HTMLElement {
    const step = (amount: 1 | -1, label: string): HTMLElement => {
      const props = { class: "button is-square", "aria-label": label, testid: amount > 0 ? "vote-up" : "vote-down" };
      return h("button", { ...props, onclick: () => vote(this.#session, this.#id, amount) }, amount > 0 ? "+" : "−");
    };
    const drop = { class: "button is-danger", testid: "card-delete", onclick: () => this.#delete() };
    const card = this.#session.card(this.#id);
    const origin = [card?.createdBy && `by ${card.createdBy}`, card?.createdAt && formatMoment(card.createdAt)];
    const created = origin.filter(Boolean).join(", ");
    return h(
      "aside",
      "card-side",
      h("label", "check", this.#done, "Done"),
      section("List", "card-list", this.#list),
      section("Assignee", "card-assignee", this.#assignee.element, this.#people),
      section("Due", "card-due", this.#due),
      section("Labels", null, this.#labels.element),
      section("Votes", null, h("div", "row", step(-1, "Take a vote back"), this.#votes, step(1, "Vote"))),
      created !== "" && h("p", "note", `Created ${created}`),
      h("button", drop, icon("trash"), "Delete card"),
    );
  }

  #update(): void {
    const card = this.#session.card(this.#id);
    if (!card) {
      if (this.#dialog?.open) this.#session.voice.toast("This card was deleted.");
      this.#dialog?.close();
      return;
    }
    this.#title.show(card.untitled ? "" : card.title);
    this.#description.show(card.description);
    this.#assignee.show(card.assignee);
    const due = card.due ? toDateInput(card.due) : "";
    if (this.#due !== document.activeElement && this.#due.value !== due) this.#due.value = due;
    this.#done.checked = card.done;
    fill(this.#votes, plural(Number(card.votes), "vote"));
    const names = new Set(
      [...this.#session.model.cards.values()].map((other) => other.assignee).concat(this.#session.who.name),
    );
    fill(
      this.#people,
      ...[...names]
        .filter(Boolean)
        .sort()
        .map((name) => h("option", { value: name })),
    );
    this.#updateLists(card);
    this.#labels.update(card);
    this.#checklist.update(card);
  }

  #updateLists(card: Card): void {
    const options = this.#session.model.lists.map((list) =>
      h("option", { value: list.id, disabled: list.key === null }, list.name),
    );
    fill(this.#list, ...options);
    const place = this.#session.model.lists.find((list) => list.cards.some((other) => other.id === card.id));
    this.#list.value = place?.id ?? "";
  }

  #moveTo(id: string): void {
    const list = this.#session.model.lists.find((other) => other.id === id);
    const card = this.#session.card(this.#id);
    if (!card || !list || list.key === null) return;
    const target = list.key;
    void this.#session.run((board) => board.moveCard(card.key, target, null));
  }

  #delete(): void {
    const card = this.#session.card(this.#id);
    const dialog = this.#dialog;
    this.#dialog = null;
    dialog?.close();
    if (card) void this.#session.deleteCard(card);
  }

  #bind<E extends HTMLInputElement | HTMLTextAreaElement>(
    element: E,
    field: "title" | "description" | "assignee",
    required: boolean,
  ): BoundText<E> {
    return new BoundText(element, required, (base, mine) => {
      void this.#session.run((board) =>
        board.patch("cards", this.#key, (row) => {
          const stored = row[field];
          row[field] = typeof stored === "string" ? retype(base, mine, stored) : mine;
        }),
      );
    });
  }
}

/** A named part of the dialog; `target` is the id of the field that the name is for. */
function section(name: string, target: string | null, ...content: readonly Child[]): HTMLElement {
  const heading = target === null ? h("h3", {}, name) : h("label", { class: "heading", for: target }, name);
  return h("section", "part", heading, ...content);
}
