/** Short messages in a corner. The region is live: what appears is also spoken. */
import { fill, h, icon } from "../dom.ts";
import type { Voice } from "../session.ts";

const SHOWN_MS = 6000;
const SHOWN_MAX = 3;

export class Toasts implements Voice {
  /** Holds the messages that are shown. */
  readonly element: HTMLElement = h("div", {
    class: "toasts",
    role: "log",
    "aria-live": "polite",
    "aria-label": "Messages",
    popover: "manual",
  });
  /** Holds what is only spoken. */
  readonly speech: HTMLElement = h("div", { class: "visually-hidden", role: "status", testid: "announcer" });

  toast(text: string, action?: { label: string; run: () => void }): void {
    this.#add(text, "toast", action);
  }

  problem(text: string): void {
    this.#add(text, "toast is-problem");
  }

  announce(text: string): void {
    fill(this.speech, text);
  }

  #add(text: string, kind: string, action?: { label: string; run: () => void }): void {
    let timer: ReturnType<typeof setTimeout>;
    const remove = (): void => {
      clearTimeout(timer);
      toast.remove();
    };
    const start = (): void => void (timer = setTimeout(remove, SHOWN_MS));
    const run = (): void => {
      remove();
      action?.run();
    };
    const close = { class: "icon-button is-small", "aria-label": "Dismiss", onclick: remove };
    const toast = h(
      "div",
      { class: kind, testid: "toast", onpointerenter: () => clearTimeout(timer), onpointerleave: start },
      h("p", {}, text),
      action && h("button", { class: "link", testid: "toast-action", onclick: run }, action.label),
      h("button", close, icon("close")),
    );
    this.#raise();
    this.element.append(toast);
    while (this.element.children.length > SHOWN_MAX) this.element.firstElementChild?.remove();
    start();
  }

  /** Brings the region above a dialog that was opened after it. */
  #raise(): void {
    if (this.element.matches(":popover-open")) this.element.hidePopover();
    this.element.showPopover();
  }
}
