/** Modal dialogs and side sheets on the native <dialog>: it keeps the focus inside and gives it back. */
import { fill, h, icon, type Child, type IconName } from "../dom.ts";
import { reasonOf } from "../format.ts";

export interface DialogOptions {
  readonly title: string;
  readonly testid: string;
  /** `sheet` slides in from the side; on a phone all of them rise from below. */
  readonly kind?: "dialog" | "wide" | "sheet";
  /** In place of the title as plain text. */
  readonly heading?: Child;
  /** An icon before the title. */
  readonly icon?: IconName;
  readonly onClose?: () => void;
}

/** Opens a modal dialog with `content`; it is removed when it closes. */
export function openDialog(options: DialogOptions, ...content: readonly Child[]): HTMLDialogElement {
  const close = h(
    "button",
    {
      class: "icon-button",
      "aria-label": "Close",
      testid: "dialog-close",
      onclick: () => dialog.close(),
    },
    icon("close"),
  );
  const heading = options.heading ?? h("h2", "with-icon", options.icon && icon(options.icon), options.title);
  const dialog: HTMLDialogElement = h(
    "dialog",
    { class: `dialog is-${options.kind ?? "dialog"}`, testid: options.testid, "aria-label": options.title },
    h("header", "dialog-head", heading, close),
    // The focus starts on the content, not on the button that closes it.
    h("div", { class: "dialog-body", tabindex: -1, autofocus: true }, ...content),
  );
  let pressedOutside = false;
  dialog.addEventListener("pointerdown", (event) => (pressedOutside = event.target === dialog));
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog && pressedOutside) dialog.close();
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    options.onClose?.();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Opens a dialog with a list that `load` fills, and again at each call of the returned function. */
export function openList(
  options: DialogOptions,
  none: { title: string; text: string },
  load: (dialog: HTMLDialogElement) => Promise<readonly HTMLElement[]>,
): () => Promise<void> {
  const list = h("div", { class: "entries", "aria-busy": true });
  const dialog = openDialog(options, list);
  return async () => {
    let empty = emptyNote(none.title, none.text);
    try {
      const entries = await load(dialog);
      if (entries.length > 0) return fill(list, ...entries);
    } catch (error) {
      empty = emptyNote("This list could not be read", reasonOf(error));
    } finally {
      list.removeAttribute("aria-busy");
    }
    fill(list, empty);
  };
}

/** A message in place of a list that has no entries. */
function emptyNote(title: string, text: string): HTMLElement {
  return h("div", "empty-note", h("p", "empty-title", title), h("p", {}, text));
}
