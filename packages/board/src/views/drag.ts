/** Moving cards with a mouse, a pen or a finger. A finger has to rest on the card first, so that it can still scroll. */
import type { Session } from "../session.ts";
import type { Columns } from "./columns.ts";

const MOUSE_SLOP_PX = 5;
const TOUCH_SLOP_PX = 8;
const TOUCH_HOLD_MS = 280;
const EDGE_PX = 48;
const SCROLL_STEP_PX = 10;

interface Press {
  readonly id: number;
  readonly card: HTMLElement;
  readonly x: number;
  readonly y: number;
  readonly touch: boolean;
  readonly timer: ReturnType<typeof setTimeout> | undefined;
}

interface Drag {
  readonly ghost: HTMLElement;
  readonly dx: number;
  readonly dy: number;
  x: number;
  y: number;
}

export class PointerDrag {
  readonly #session: Session;
  readonly #root: HTMLElement;
  #press: Press | null = null;
  #drag: Drag | null = null;

  constructor(session: Session, columns: Columns) {
    this.#session = session;
    this.#root = columns.element;
    this.#root.addEventListener("pointerdown", (event) => this.#onDown(event));
    addEventListener("pointermove", (event) => this.#onMove(event));
    addEventListener("pointerup", (event) => this.#onEnd(event, true));
    addEventListener("pointercancel", (event) => this.#onEnd(event, false));
    addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#drag) this.#finish(false, false);
    });
    // Must exist before the touch begins, or the browser scrolls without asking.
    this.#root.addEventListener("touchmove", (event) => this.#drag && event.preventDefault(), { passive: false });
    this.#root.addEventListener("contextmenu", (event) => this.#press?.touch && event.preventDefault());
    this.#root.addEventListener("dragstart", (event) => event.preventDefault());
  }

  #onDown(event: PointerEvent): void {
    const target = event.target instanceof Element ? event.target : null;
    const card = target?.closest<HTMLElement>("[data-card-id]");
    if (!card || event.button !== 0 || target?.closest(".card-vote") || this.#session.carry) return;
    const touch = event.pointerType === "touch";
    const timer = touch ? setTimeout(() => this.#start(event.clientX, event.clientY), TOUCH_HOLD_MS) : undefined;
    this.#press = { id: event.pointerId, card, x: event.clientX, y: event.clientY, touch, timer };
  }

  #onMove(event: PointerEvent): void {
    const press = this.#press;
    const drag = this.#drag;
    if (!press || event.pointerId !== press.id) return;
    if (drag) {
      drag.x = event.clientX;
      drag.y = event.clientY;
      this.#follow();
      return;
    }
    const distance = Math.hypot(event.clientX - press.x, event.clientY - press.y);
    if (press.touch && distance > TOUCH_SLOP_PX) this.#release();
    else if (!press.touch && distance > MOUSE_SLOP_PX) this.#start(event.clientX, event.clientY);
  }

  #onEnd(event: PointerEvent, drop: boolean): void {
    if (event.pointerId !== this.#press?.id) return;
    if (this.#drag) this.#finish(drop, true);
    else this.#release();
  }

  #release(): void {
    clearTimeout(this.#press?.timer);
    this.#press = null;
  }

  #start(x: number, y: number): void {
    const card = this.#press?.card;
    const id = card?.dataset["cardId"];
    const place = id === undefined ? null : this.#session.place(id);
    if (!card || id === undefined || !place) return this.#release();
    const box = card.getBoundingClientRect();
    const ghost = card.cloneNode(true) as HTMLElement;
    for (const element of [ghost, ...ghost.querySelectorAll("*")]) {
      element.removeAttribute("data-testid");
      element.removeAttribute("data-card-id");
      element.removeAttribute("tabindex");
    }
    ghost.inert = true;
    ghost.classList.add("ghost");
    ghost.style.width = `${box.width}px`;
    document.body.append(ghost);
    this.#drag = { ghost, dx: x - box.left, dy: y - box.top, x, y };
    this.#root.classList.add("is-dragging");
    if (this.#press?.touch) navigator.vibrate?.(10);
    this.#session.setCarry({ card: id, list: place.column.list.id, index: place.y, by: "pointer" });
    this.#follow();
    requestAnimationFrame(() => this.#scroll());
  }

  /** Puts the ghost under the pointer and the card where it would be dropped. */
  #follow(): void {
    const drag = this.#drag;
    const session = this.#session;
    const { carry } = session;
    if (!drag || !carry) return;
    drag.ghost.style.transform = `translate(${drag.x - drag.dx}px, ${drag.y - drag.dy}px) rotate(2deg)`;
    const column = this.#columnAt(drag.x);
    const list = column?.dataset["listId"];
    if (!column || list === undefined || column.classList.contains("is-unsorted")) return;
    const others = [...column.querySelectorAll<HTMLElement>("[data-card-id]")].filter(
      (card) => card.dataset["cardId"] !== carry.card,
    );
    const index = others.filter((card) => middleOf(card) < drag.y - drag.dy + drag.ghost.offsetHeight / 2).length;
    if (list === carry.list && index === carry.index) return;
    session.setCarry({ ...carry, list, index });
  }

  #columnAt(x: number): HTMLElement | undefined {
    return [...this.#root.querySelectorAll<HTMLElement>("[data-list-id]")].find((column) => {
      const box = column.getBoundingClientRect();
      return x >= box.left && x <= box.right;
    });
  }

  /** Scrolls while the pointer is held at an edge. */
  #scroll(): void {
    const drag = this.#drag;
    if (!drag) return;
    const box = this.#root.getBoundingClientRect();
    this.#root.scrollLeft += edge(drag.x, box.left, box.right);
    const cards = this.#columnAt(drag.x)?.querySelector(".cards");
    if (cards) {
      const inner = cards.getBoundingClientRect();
      cards.scrollTop += edge(drag.y, inner.top, inner.bottom);
    }
    this.#follow();
    requestAnimationFrame(() => this.#scroll());
  }

  /** Ends the drag; `released` tells whether the button is up already. */
  #finish(drop: boolean, released: boolean): void {
    this.#drag?.ghost.remove();
    this.#drag = null;
    this.#release();
    this.#root.classList.remove("is-dragging");
    // The click that follows the release would open the card.
    const swallow = (event: Event): void => event.stopPropagation();
    const stop = (): void => void setTimeout(() => this.#root.removeEventListener("click", swallow, true));
    this.#root.addEventListener("click", swallow, true);
    if (released) stop();
    else addEventListener("pointerup", stop, { once: true });
    if (drop) void this.#session.drop();
    else this.#session.setCarry(null);
  }
}

function middleOf(element: HTMLElement): number {
  const box = element.getBoundingClientRect();
  return box.top + box.height / 2;
}

function edge(at: number, start: number, end: number): number {
  return at < start + EDGE_PX ? -SCROLL_STEP_PX : at > end - EDGE_PX ? SCROLL_STEP_PX : 0;
}
