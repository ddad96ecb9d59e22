/** The labels of a card, and the making and deleting of labels. */
import { fill, h, icon } from "../dom.ts";
import { asArray, HUES, type Card, type Label } from "../model.ts";
import type { Session } from "../session.ts";

export class LabelPicker {
  readonly element: HTMLElement = h("div", "label-picker");
  readonly #session: Session;
  readonly #key: IDBValidKey;
  readonly #tags = h("div", "tags");
  readonly #foot = h("div", {});
  #deleting = false;
  #card: Card | null = null;

  constructor(session: Session, key: IDBValidKey) {
    this.#session = session;
    this.#key = key;
    this.element.append(this.#tags, this.#foot);
    this.#showButtons();
  }

  update(card: Card): void {
    this.#card = card;
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset["label"] : undefined;
    const tags = [...this.#session.model.labels.values()].map((label) => this.#tag(card, label));
    fill(this.#tags, ...tags);
    if (focused !== undefined) tags.find((tag) => tag.dataset["label"] === focused)?.focus();
  }

  #tag(card: Card, label: Label): HTMLButtonElement {
    const on = card.labels.includes(label.id);
    const props = {
      class: on ? "tag is-button is-on" : "tag is-button",
      "data-hue": label.hue,
      "data-label": label.id,
      testid: "label-toggle",
    };
    if (this.#deleting) {
      const drop = (): void => void this.#session.run((board) => board.deleteLabel(label.key));
      const name = `Delete label ${label.name}`;
      return h("button", { ...props, "aria-label": name, onclick: drop }, label.name, icon("close"));
    }
    const toggle = (): void => this.#toggle(label.id, !on);
    const mark = on ? icon("check") : null;
    return h("button", { ...props, "aria-pressed": String(on), onclick: toggle }, mark, label.name);
  }

  #toggle(label: string, on: boolean): void {
    void this.#session.run((board) =>
      board.patch("cards", this.#key, (row) => {
        const labels = asArray(row["labels"]);
        row["labels"] = on ? [...new Set([...labels, label])] : labels.filter((other) => other !== label);
      }),
    );
  }

  #showButtons(): void {
    const create = { class: "link", testid: "label-new", onclick: () => this.#showForm() };
    const manage = h(
      "button",
      {
        class: "link",
        onclick: () => {
          this.#deleting = !this.#deleting;
          fill(manage, this.#deleting ? "Done deleting" : "Delete labels…");
          if (this.#card) this.update(this.#card);
        },
      },
      this.#deleting ? "Done deleting" : "Delete labels…",
    );
    fill(this.#foot, h("div", "row", h("button", create, "New label…"), manage));
  }

  #closeForm(): void {
    this.#showButtons();
    this.#foot.querySelector("button")?.focus();
  }

  #showForm(): void {
    const name = h("input", {
      class: "field",
      name: "name",
      placeholder: "Label",
      "aria-label": "Name of the label",
      required: true,
      testid: "label-name",
    });
    const swatches = HUES.map((hue, place) =>
      h(
        "label",
        { class: "swatch", "data-hue": hue, title: hue },
        h("input", { type: "radio", name: "hue", value: hue, checked: place === 0, "aria-label": hue }),
      ),
    );
    const form = h(
      "form",
      {
        class: "label-form",
        onsubmit: (event) => {
          event.preventDefault();
          const hue = new FormData(form).get("hue");
          void this.#create(name.value.trim(), typeof hue === "string" ? hue : HUES[0]);
        },
        onkeydown: (event) => {
          if (event.key !== "Escape") return;
          event.preventDefault();
          event.stopPropagation();
          this.#closeForm();
        },
      },
      name,
      h("div", { class: "swatches", role: "radiogroup", "aria-label": "Colour" }, ...swatches),
      h("button", { class: "button is-primary", type: "submit" }, "Create"),
    );
    fill(this.#foot, form);
    name.focus();
  }

  async #create(name: string, color: string): Promise<void> {
    if (!name) return;
    const label = await this.#session.run((board) => board.addLabel(name, color));
    this.#closeForm();
    if (label !== undefined) this.#toggle(label, true);
  }
}
