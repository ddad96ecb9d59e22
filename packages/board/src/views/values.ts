/** Any stored value, as a person can read it: for conflicts and rejected changes. */
import { h, type Child } from "../dom.ts";
import { formatDay, formatMoment } from "../format.ts";
import { asDate, asStep, idOf, isKey, isRow, type BoardModel } from "../model.ts";
import { labelTag } from "./card-face.ts";

/** Elements of a list are named by identities that mean nothing to a person. */
const UUID = /^[0-9a-f]{8}-[0-9a-f-]{27}$/;

/** The name of the field at `path`, for example "Checklist › text". */
export function fieldName(path: readonly string[]): string {
  const [first, ...rest] = path.filter((part) => !UUID.test(part));
  if (!first) return "Everything";
  const name = first === "order" ? "order of cards" : first;
  return [name.charAt(0).toUpperCase() + name.slice(1), ...rest].join(" › ");
}

/** What a document is called on the board. */
export function documentName(model: BoardModel, store: string, key: IDBValidKey, row?: unknown): string {
  const id = idOf(key);
  const stored = isRow(row) ? (row["title"] ?? row["name"]) : undefined;
  const shown =
    store === "cards"
      ? model.cards.get(id)?.title
      : store === "lists"
        ? model.lists.find((list) => list.id === id)?.name
        : model.labels.get(id)?.name;
  const name = shown ?? (typeof stored === "string" && stored ? stored : null);
  const kind = store.replace(/s$/, "");
  return name === null ? `A deleted ${kind}` : store === "cards" ? name : `${name} (${kind})`;
}

/** `value` in plain JSON, types that JSON lacks as text. */
export function toPlain(value: unknown): string {
  const seen = (_: string, inner: unknown): unknown => {
    if (typeof inner === "bigint") return String(inner);
    if (inner instanceof Map) return Object.fromEntries(inner);
    if (inner instanceof Set) return [...inner];
    return inner;
  };
  return JSON.stringify(value, seen, 2) ?? "nothing";
}

function nothing(text: string): HTMLElement {
  return h("span", "is-nothing", text);
}

function listOf(items: readonly Child[]): HTMLElement {
  return items.length === 0 ? nothing("none") : h("ul", "value-list", ...items.map((item) => h("li", {}, item)));
}

/** The value of a field as an element. */
export function showValue(model: BoardModel, field: string | undefined, value: unknown): Child {
  if (value === undefined) return nothing("deleted");
  if (value === null || value === "") return nothing("empty");
  if (field === "due") {
    const due = asDate(value);
    if (due) return formatDay(due);
  }
  if (value instanceof Date) return formatMoment(value);
  if (typeof value === "boolean") return value ? "Yes" : "No";
  if (field === "list" && isKey(value)) return documentName(model, "lists", value).replace(/ \(list\)$/, "");
  if (Array.isArray(value)) return showArray(model, field, value);
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  return typeof value === "string" ? h("span", "value-text", value) : h("pre", {}, toPlain(value));
}

function showArray(model: BoardModel, field: string | undefined, value: readonly unknown[]): Child {
  if (field === "labels") {
    const tags = value.map(
      (id) => model.labels.get(idOf(id)) ?? { key: "", id: "", name: "Deleted label", hue: "gray" as const },
    );
    return tags.length === 0 ? nothing("none") : h("span", "tags", ...tags.map(labelTag));
  }
  if (field === "order") {
    return listOf(value.filter(isKey).map((key) => documentName(model, "cards", key)));
  }
  if (field === "checklist") {
    return listOf(
      value.map((item, place) => asStep(item, place)).map((step) => step && `${step.done ? "☑" : "☐"} ${step.text}`),
    );
  }
  return h("pre", {}, toPlain(value));
}
