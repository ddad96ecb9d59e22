/** The checklist in a card's dialog. */
import { arrangeChildren, fill, h, icon } from "../dom.ts";
import { asArray, type Card, type Step } from "../model.ts";
import type { Session } from "../session.ts";
import { BoundText } from "./bound-text.ts";

class StepRow {
  readonly element: HTMLLIElement;
  readonly text: BoundText<HTMLInputElement>;
  readonly #box: HTMLInputElement;
  readonly #remove: HTMLButtonElement;

  constructor(step: string, list: Checklist) {
    const { session } = list;
    this.#box = h("input", {
      type: "checkbox",
      testid: "step-done",
      onchange: () => {
        const done = this.#box.checked;
        void session.run((board) => board.editStep(list.key, step, (row) => ({ ...row, done })));
      },
    });
    const field = h("input", {
      class: "field is-quiet",
      "aria-label": "Step",
      testid: "step-text",
      onkeydown: (event) => {
        const offset = event.key === "ArrowUp" ? -1 : event.key === "ArrowDown" ? 1 : 0;
        if (offset === 0 || !event.altKey) return;
        event.preventDefault();
        void session.run((board) => board.moveStep(list.key, step, offset)).then(() => field.focus());
      },
    });
    this.text = new BoundText(field, true, (_, text) => {
      void session.run((board) => board.editStep(list.key, step, (row) => ({ ...row, text })));
    });
    const drop = (): void => void session.run((board) => board.editStep(list.key, step, () => null));
    const props = { class: "icon-button is-small", onclick: drop };
    this.#remove = h("button", props, icon("close"));
    this.element = h("li", { class: "step", testid: "step" }, this.#box, field, this.#remove);
  }

  update(step: Step): void {
    this.#box.checked = step.done;
    this.#box.setAttribute("aria-label", `Done: ${step.text}`);
    this.#remove.setAttribute("aria-label", `Delete step ${step.text}`);
    this.element.classList.toggle("is-done", step.done);
    this.text.show(step.text);
  }
}

export class Checklist {
  readonly element: HTMLElement;
  readonly session: Session;
  readonly key: IDBValidKey;
  readonly #rows = new Map<string, StepRow>();
  readonly #list = h("ul", "steps");
  readonly #progress = h("div", "progress");

  constructor(session: Session, key: IDBValidKey) {
    this.session = session;
    this.key = key;
    const field = h("input", {
      class: "field is-quiet",
      placeholder: "Add a step",
      "aria-label": "Add a step",
      testid: "step-add",
      onkeydown: (event) => {
        const text = field.value.trim();
        if (event.key !== "Enter" || event.isComposing || text === "") return;
        event.preventDefault();
        field.value = "";
        void session.run((board) =>
          board.patch("cards", key, (row) => {
            const steps = asArray(row["checklist"]);
            row["checklist"] = [...steps, { id: crypto.randomUUID(), text, done: false }];
          }),
        );
      },
    });
    const adder = h("div", "step is-adder", icon("plus"), field);
    this.element = h("div", {}, this.#progress, this.#list, adder);
  }

  update(card: Card): void {
    const steps = card.checklist;
    const elements = steps.map((step) => {
      const row = this.#rows.get(step.id) ?? new StepRow(step.id, this);
      this.#rows.set(step.id, row);
      row.update(step);
      return row.element;
    });
    const shown = new Set(steps.map((step) => step.id));
    for (const id of this.#rows.keys()) if (!shown.has(id)) this.#rows.delete(id);
    arrangeChildren(this.#list, elements);
    this.#drawProgress(steps.filter((step) => step.done).length, steps.length);
  }

  /** Saves typing that is not saved yet. */
  commit(): void {
    for (const row of this.#rows.values()) row.text.commit();
  }

  #drawProgress(done: number, all: number): void {
    this.#progress.hidden = all === 0;
    const bar = h("progress", { max: Math.max(all, 1), value: done, "aria-label": "Checklist progress" });
    fill(this.#progress, bar, h("span", {}, `${done} of ${all}`));
  }
}
