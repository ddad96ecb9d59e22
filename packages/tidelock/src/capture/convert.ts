/** Conversions of arguments as the browser makes them, for the places where the layer looks at an argument first. */

/** A DOMString argument: unlike `String()`, the conversion refuses symbols. */
export function toDomString(value: unknown): string {
  // oxlint-disable-next-line typescript/no-unnecessary-template-expression -- the value is of any type; the conversion is meant
  return `${value as string}`;
}

/** A version argument as an integer; NaN when the browser would refuse it. Symbols and BigInts are refused here. */
export function toVersion(value: unknown): number {
  // Unary plus, not `Number()`: that would accept a BigInt.
  // oxlint-disable-next-line typescript/no-unnecessary-type-conversion -- the value is of any type
  const version = Math.trunc(+(value as number));
  return version >= 1 && version <= Number.MAX_SAFE_INTEGER ? version : NaN;
}

/** A call without arguments, which the types rule out and the browser refuses. */
export function isEmpty(args: readonly unknown[]): boolean {
  return args.length === 0;
}
