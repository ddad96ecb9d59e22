/** A text field tied to one text of a row: it saves what is typed, and shows what others write meanwhile. */
import { splice } from "../model.ts";

const SAVE_DELAY_MS = 350;

export class BoundText<E extends HTMLInputElement | HTMLTextAreaElement> {
  readonly element: E;
  readonly #save: (base: string, mine: string) => void;
  readonly #required: boolean;
  /** The stored text that the person is typing on. */
  #base = "";
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** `save` gets the text before and after the edit; a `required` text is never saved empty. */
  constructor(element: E, required: boolean, save: (base: string, mine: string) => void) {
    this.element = element;
    this.#required = required;
    this.#save = save;
    element.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.commit(), SAVE_DELAY_MS);
    });
    element.addEventListener("change", () => {
      if (required && element.value.trim() === "") element.value = this.#base;
      this.commit();
    });
  }

  /** Shows the stored text, unless unsaved typing is in the way; the caret stays with the text around it. */
  show(stored: string): void {
    const element = this.element;
    if (element.value !== this.#base || stored === this.#base) return;
    const edit = splice(this.#base, stored);
    const shift = stored.length - this.#base.length;
    const move = (at: number | null): number => ((at ?? 0) >= edit.end ? (at ?? 0) + shift : (at ?? 0));
    const [start, end] = [move(element.selectionStart), move(element.selectionEnd)];
    this.#base = stored;
    element.value = stored;
    if (document.activeElement === element) element.setSelectionRange(start, end);
  }

  /** Saves unsaved typing at once. */
  commit(): void {
    clearTimeout(this.#timer);
    const base = this.#base;
    const mine = this.element.value;
    if (mine === base || (this.#required && mine.trim() === "")) return;
    this.#base = mine;
    this.#save(base, mine);
  }
}
