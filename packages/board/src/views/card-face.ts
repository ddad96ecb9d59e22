/** A card as it lies in its column. */
import { h, icon, fill } from "../dom.ts";
import { dueState, formatDay, initials, pick } from "../format.ts";
import type { Card, Label } from "../model.ts";

/** Distinct tones for people's pictures. */
const PERSON_TONES = 8;

export interface CardActions {
  open(card: string): void;
  vote(card: string): void;
}

/** A label as a small coloured tag. */
export function labelTag(label: Label): HTMLElement {
  return h("span", { class: "tag", "data-hue": label.hue }, label.name);
}

/** A person's picture: initials on a tone of their own. */
export function avatar(name: string): HTMLElement {
  return h("span", { class: "avatar", "data-tone": pick(name, PERSON_TONES), title: name }, initials(name));
}

/** The element of one card; `update` draws it again when what it shows has changed. */
export class CardFace {
  readonly element: HTMLLIElement;
  readonly button: HTMLButtonElement;
  readonly #labels = h("div", "card-labels");
  readonly #meta = h("div", "card-meta");
  readonly #vote: HTMLButtonElement;
  #card: Card | null = null;
  #labelsShown: ReadonlyMap<string, Label> | null = null;

  constructor(id: string, actions: CardActions) {
    this.button = h("button", {
      class: "card-open",
      testid: "card-open",
      tabindex: -1,
      "aria-haspopup": "dialog",
      onclick: () => actions.open(id),
    });
    this.#vote = h("button", {
      class: "card-vote",
      testid: "card-vote",
      tabindex: -1,
      onclick: () => actions.vote(id),
    });
    const foot = h("div", "card-foot", this.#meta, this.#vote);
    this.element = h("li", { class: "card", testid: "card", "data-card-id": id }, this.#labels, this.button, foot);
  }

  update(card: Card, labels: ReadonlyMap<string, Label>, carried: boolean): void {
    this.element.classList.toggle("is-carried", carried);
    if (card === this.#card && labels === this.#labelsShown) return;
    this.#card = card;
    this.#labelsShown = labels;
    const tags = card.labels.flatMap((id) => labels.get(id) ?? []);
    this.element.classList.toggle("is-done", card.done);
    this.element.classList.toggle("is-untitled", card.untitled);
    fill(this.button, card.done && icon("check"), h("span", {}, card.title), card.done && hidden(" (done)"));
    fill(this.#labels, ...tags.map(labelTag));
    fill(this.#meta, ...metaOf(card));
    fill(this.#vote, icon("up"), h("span", { testid: "card-votes" }, card.votes));
    this.#vote.setAttribute("aria-label", `Vote for ${card.title}, ${card.votes} so far`);
    this.#vote.classList.toggle("has-votes", card.votes > 0);
  }

  /** Draws attention to a change that someone else made. */
  flash(): void {
    this.element.classList.remove("is-changed");
    // Reading the layout restarts the animation when it is still running.
    void this.element.offsetWidth;
    this.element.classList.add("is-changed");
  }
}

function hidden(text: string): HTMLElement {
  return h("span", "visually-hidden", text);
}

function metaOf(card: Card): HTMLElement[] {
  const parts: HTMLElement[] = [];
  if (card.due) {
    const state = card.done ? "ahead" : dueState(card.due);
    const note = state === "over" ? "Overdue" : "Due";
    parts.push(
      h("span", { class: "chip", "data-due": state, title: note }, icon("calendar"), hidden(note), formatDay(card.due)),
    );
  }
  if (card.checklist.length > 0) {
    const done = card.checklist.filter((step) => step.done).length;
    const all = done === card.checklist.length;
    parts.push(
      h(
        "span",
        { class: all ? "chip is-complete" : "chip", title: "Checklist" },
        icon("steps"),
        `${done}/${card.checklist.length}`,
      ),
    );
  }
  if (card.description) {
    parts.push(h("span", { class: "chip", title: "Has a description" }, icon("text"), hidden("Has a description")));
  }
  if (card.assignee) parts.push(avatar(card.assignee));
  return parts;
}
