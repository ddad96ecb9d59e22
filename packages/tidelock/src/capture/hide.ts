import { isHidden } from "./names.ts";

/** The list without the hidden names: the native object when there are none, else a view that is a DOMStringList too. */
export function visibleNames(list: DOMStringList): DOMStringList {
  const all = Array.from(list);
  const names = all.filter((name) => !isHidden(name));
  return names.length === all.length ? list : new Proxy(list, viewOf(names));
}

function viewOf(names: readonly string[]): ProxyHandler<DOMStringList> {
  const members: Record<PropertyKey, unknown> = {
    length: names.length,
    item: (index: number) => names[index >>> 0] ?? null,
    // oxlint-disable-next-line typescript/no-unnecessary-type-conversion -- callers pass values of any type, as to the native method
    contains: (name: string) => names.includes(String(name)),
    [Symbol.iterator]: () => names[Symbol.iterator](),
  };
  return {
    get(list, property) {
      if (isIndex(property)) return names[Number(property)];
      return Object.hasOwn(members, property) ? members[property] : Reflect.get(list, property, list);
    },
    has: (list, property) => (isIndex(property) ? Number(property) < names.length : Reflect.has(list, property)),
    ownKeys: () => names.map((_, index) => String(index)),
    getOwnPropertyDescriptor(list, property) {
      if (!isIndex(property)) return Reflect.getOwnPropertyDescriptor(list, property);
      if (Number(property) >= names.length) return undefined;
      return { value: names[Number(property)], enumerable: true, configurable: true, writable: false };
    },
  };
}

function isIndex(property: PropertyKey): property is string {
  return typeof property === "string" && /^(0|[1-9]\d*)$/.test(property);
}
