/** Building elements without a framework. Styles are classes only: the content security policy forbids inline ones. */

type Attribute = string | number | boolean | null | undefined;
type Handlers = { readonly [E in keyof HTMLElementEventMap as `on${E}`]?: (event: HTMLElementEventMap[E]) => void };
export type Child = Node | string | number | bigint | null | undefined | false;

/**
 * Attributes by their HTML names (true = present, false/null = absent); `onclick` and the like are
 * event listeners, `testid` is `data-testid`.
 */
export type Props = Handlers & { readonly [attribute: string]: Attribute | Handlers[keyof Handlers] };

/**
 * An element with attributes, listeners and children. Text is always text, never markup. Buttons do not submit. A
 * string in place of the attributes is the class.
 */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  props: Props | string = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  if (tag === "button") element.setAttribute("type", "button");
  for (const [name, value] of Object.entries(typeof props === "string" ? { class: props } : props)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value as EventListener);
    else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name === "testid" ? "data-testid" : name, value === true ? "" : String(value));
    }
  }
  fill(element, ...children);
  return element;
}

/** Replaces the children of `parent`. */
export function fill(parent: Element, ...children: readonly Child[]): void {
  const kept = children.filter((child) => child !== null && child !== undefined && child !== false);
  parent.replaceChildren(...kept.map((child) => (child instanceof Node ? child : String(child))));
}

/** Makes the children of `parent` exactly `wanted`. Few elements move when few are out of place, and not the one with the focus. */
export function arrangeChildren(parent: Element, wanted: readonly Element[]): void {
  const keep = new Set(wanted);
  for (const child of Array.from(parent.children)) if (!keep.has(child)) child.remove();
  let place = parent.firstElementChild;
  for (const [index, child] of wanted.entries()) {
    // One that has gone further down: all that it has passed would have to move instead.
    const gone = place !== null && place.nextElementSibling === child && wanted[index + 1] !== place;
    if (gone && !place?.contains(document.activeElement)) {
      place?.remove();
      place = child;
    }
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
}

const ICONS = {
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6L6 18",
  more: "M4.5 12h1M11.5 12h1M18.5 12h1",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM20 20l-4-4",
  window: "M14 4h6v6M20 4l-9 9M18 14v5a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1V7a1 1 0 0 1 1-1h5",
  help: "M9.2 9a3 3 0 1 1 4.3 3c-1 .5-1.5 1-1.5 2M12 17.5h.01M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z",
  up: "M12 19V6M6 12l6-6 6 6",
  calendar: "M5 6h14a1 1 0 0 1 1 1v12a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1V7a1 1 0 0 1 1-1zM4 10.5h16M8 3.5V7M16 3.5V7",
  text: "M5 7h14M5 12h14M5 17h8",
  steps: "M4.5 7l1.5 1.5L9 5.5M4.5 16l1.5 1.5L9 14.500M13 7.500h7M13 16.500h7",
  check: "M5 12.500l4.5 4.500L19 7.5",
  trash: "M5 7h14M10 4h4M7 7l1 12a1 1 0 0 0 1 1h6a1 1 0 0 0 1-1l1-12",
  alert: "M12 8v5M12 16.500h.01M12 3.500L2.8 19.500h18.400z",
  merge: "M6 4v3a6 6 0 0 0 6 6v7M18 4v3a6 6 0 0 1-6 6M9 17l3 3 3-3",
  history: "M4 12a8 8 0 1 0 2.5-5.800L4 8.500M4 4v4.500h4.500M12 8v4.500l3 1.5",
} as const;

export type IconName = keyof typeof ICONS;

/** A decorative line icon in the colour of the text. */
export function icon(name: IconName): SVGSVGElement {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}
