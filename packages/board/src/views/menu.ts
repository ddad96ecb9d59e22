/** A small menu that opens at a button: arrow keys move, Escape and a click elsewhere close it. */
import { h, icon, type IconName } from "../dom.ts";

export interface MenuItem {
  readonly label: string;
  readonly icon?: IconName;
  readonly danger?: boolean;
  readonly testid?: string;
  readonly run: () => void;
}

const GAP_PX = 6;
const MARGIN_PX = 8;

/** Puts `panel` below `anchor`, inside the window. */
export function placeAt(panel: HTMLElement, anchor: HTMLElement): void {
  const box = anchor.getBoundingClientRect();
  const left = Math.min(box.left, innerWidth - panel.offsetWidth - MARGIN_PX);
  const below = box.bottom + GAP_PX;
  const top = below + panel.offsetHeight > innerHeight - MARGIN_PX ? box.top - panel.offsetHeight - GAP_PX : below;
  panel.style.left = `${Math.max(MARGIN_PX, left)}px`;
  panel.style.top = `${Math.max(MARGIN_PX, top)}px`;
}

/** Shows `panel` as a popover at `anchor` and removes it when it closes. */
export function openPopover(panel: HTMLElement, anchor: HTMLElement): void {
  panel.setAttribute("popover", "auto");
  panel.classList.add("popover");
  document.body.append(panel);
  anchor.setAttribute("aria-expanded", "true");
  panel.addEventListener("toggle", (event) => {
    if (event.newState !== "closed") return;
    anchor.setAttribute("aria-expanded", "false");
    panel.remove();
  });
  panel.showPopover();
  placeAt(panel, anchor);
}

function focusNext(menu: HTMLElement, step: number): void {
  const items = [...menu.querySelectorAll("button")];
  const at = items.findIndex((item) => item === document.activeElement);
  items[(at + step + items.length) % items.length]?.focus();
}

/** Opens a menu of `items` at `anchor`. */
export function openMenu(anchor: HTMLElement, label: string, items: readonly MenuItem[]): void {
  const menu = h("div", {
    class: "menu",
    role: "menu",
    "aria-label": label,
    onkeydown: (event) => {
      const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
      if (step === 0) return;
      event.preventDefault();
      focusNext(menu, step);
    },
  });
  for (const item of items) {
    const run = (): void => {
      menu.hidePopover();
      anchor.focus();
      item.run();
    };
    const props = { role: "menuitem", testid: item.testid, onclick: run };
    const mark = item.icon ? icon(item.icon) : null;
    menu.append(h("button", { ...props, class: item.danger ? "is-danger" : null }, mark, item.label));
  }
  openPopover(menu, anchor);
  menu.querySelector("button")?.focus();
}
