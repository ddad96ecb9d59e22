/** Modal dialogs and side sheets on the native <dialog>: it keeps the focus inside and gives it back. */
import { h, icon, type Child } from '../dom.ts';

export interface DialogOptions {
  readonly title: string;
  readonly testid: string;
  /** `sheet` slides in from the side; on a phone all of them rise from below. */
  readonly kind?: 'dialog' | 'wide' | 'sheet';
  /** In place of the title as plain text. */
  readonly heading?: Child;
  readonly onClose?: () => void;
}

/** Opens a modal dialog with `content`; it is removed when it closes. */
export function openDialog(options: DialogOptions, ...content: readonly Child[]): HTMLDialogElement {
  const close = h(
    'button',
    {
      class: 'icon-button',
      'aria-label': 'Close',
      testid: 'dialog-close',
      onclick: () => dialog.close(),
    },
    icon('close'),
  );
  const heading = options.heading ?? h('h2', {}, options.title);
  const dialog: HTMLDialogElement = h(
    'dialog',
    { class: `dialog is-${options.kind ?? 'dialog'}`, testid: options.testid, 'aria-label': options.title },
    h('header', { class: 'dialog-head' }, heading, close),
    h('div', { class: 'dialog-body' }, ...content),
  );
  let pressedOutside = false;
  dialog.addEventListener('pointerdown', (event) => (pressedOutside = event.target === dialog));
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog && pressedOutside) dialog.close();
  });
  dialog.addEventListener('close', () => {
    dialog.remove();
    options.onClose?.();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** A message in place of a list that has no entries. */
export function emptyNote(title: string, text: string): HTMLElement {
  return h('div', { class: 'empty-note' }, h('p', { class: 'empty-title' }, title), h('p', {}, text));
}
