import type { MarkedRange } from "./types.ts";

/**
 * A copy of a key that the native code has accepted, made without running application code; `undefined` when that is
 * impossible (an array with accessors, an object of another realm): the caller marks the whole store then.
 */
export function copyKey(key: unknown): IDBValidKey | undefined {
  if (typeof key === "number" || typeof key === "string") return key;
  if (Array.isArray(key)) return copyArray(key);
  if (key instanceof Date || key instanceof ArrayBuffer || ArrayBuffer.isView(key)) {
    // The range copies by internal slots, whatever properties the object carries.
    return IDBKeyRange.only(key).lower as IDBValidKey;
  }
  return undefined;
}

function copyArray(key: readonly unknown[]): IDBValidKey[] | undefined {
  const copy: IDBValidKey[] = [];
  for (let index = 0; index < key.length; index++) {
    const property = Object.getOwnPropertyDescriptor(key, index);
    const element = property !== undefined && "value" in property ? copyKey(property.value) : undefined;
    if (element === undefined) return undefined;
    copy.push(element);
  }
  return copy;
}

/** The marker for an accepted argument of `delete()` that is not a single key; the whole store when it is opaque. */
export function rangeOf(query: unknown): MarkedRange {
  if (!(query instanceof IDBKeyRange)) return null;
  return [
    query.lower as IDBValidKey | undefined,
    query.upper as IDBValidKey | undefined,
    query.lowerOpen,
    query.upperOpen,
  ];
}

/**
 * The string or number at a key path of a value, read without running application code; `undefined` when there is
 * none, or when structured cloning might see another one: a copy keeps only the enumerable own properties of plain
 * objects.
 */
export function inlineKey(value: unknown, path: readonly string[]): string | number | undefined {
  let at = value;
  for (const name of path) {
    if (typeof at !== "object" || at === null || Object.getPrototypeOf(at) !== Object.prototype) return undefined;
    const property = Object.getOwnPropertyDescriptor(at, name);
    if (property?.enumerable !== true) return undefined;
    at = property.value as unknown;
  }
  return typeof at === "string" || typeof at === "number" ? at : undefined;
}
