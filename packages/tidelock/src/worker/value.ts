/**
 * Values as JSON text and back, as `docs/protocol.md` section 2 defines it. The core has the same rule; both are held to
 * `testdata/values.json`.
 *
 * A plain JSON value, the usual case, costs one walk and one `JSON.stringify`. Everything else is written by hand, because
 * an integer beyond 2^53 and a number with an exponent cannot be told apart by `JSON.stringify`.
 */
import { fromBase64, toBase64 } from "./key.ts";

/** A value that has no JSON form; the message names the path. */
export class UnsupportedValue extends Error {
  override name = "UnsupportedValue";
}

/** Deepest nesting that the core accepts. */
const DEPTH_MAX = 100;
/** Dates reach this far from 1970, in milliseconds (ECMA-262 section 21.4.1.1). */
const DATE_MS_MAX = 8.64e15;
const TAG = /^~+(date|bytes|map|set|bigint|undefined|number|regexp|error)$/;
const ESCAPED = /^~~+(date|bytes|map|set|bigint|undefined|number|regexp|error)$/;

const VIEWS: Readonly<Record<string, (buffer: ArrayBuffer) => unknown>> = {
  ArrayBuffer: (buffer) => buffer,
  DataView: (buffer) => new DataView(buffer),
  Int8Array: (buffer) => new Int8Array(buffer),
  Uint8Array: (buffer) => new Uint8Array(buffer),
  Uint8ClampedArray: (buffer) => new Uint8ClampedArray(buffer),
  Int16Array: (buffer) => new Int16Array(buffer),
  Uint16Array: (buffer) => new Uint16Array(buffer),
  Int32Array: (buffer) => new Int32Array(buffer),
  Uint32Array: (buffer) => new Uint32Array(buffer),
  Float32Array: (buffer) => new Float32Array(buffer),
  Float64Array: (buffer) => new Float64Array(buffer),
  BigInt64Array: (buffer) => new BigInt64Array(buffer),
  BigUint64Array: (buffer) => new BigUint64Array(buffer),
};

/** JSON text of a value. */
export function encodeValue(value: unknown): string {
  return isPlain(value, 0) ? JSON.stringify(value) : write(value, "$", []);
}

/** The value of a JSON text that may have escapes. */
export function decodeText(text: string): unknown {
  return decodeValue(parseExact(text));
}

/**
 * `JSON.parse`, but -0 is 0, and an integer beyond 2^53 becomes `{"": -0, "~bigint": digits}` instead of being rounded. No
 * document has that form, because no other -0 is left.
 */
export function parseExact(text: string): unknown {
  return JSON.parse(/\d{16}|-0|[eE]-/.test(text) ? text.replace(STRING_OR_NUMBER, exactLiteral) : text);
}

const STRING_OR_NUMBER = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g;

function exactLiteral(literal: string): string {
  if (literal.startsWith('"')) return literal;
  const number = Number(literal);
  if (number === 0) return "0";
  return /^-?\d+$/.test(literal) && !Number.isSafeInteger(number) ? `{"":-0,"~bigint":"${literal}"}` : literal;
}

/** The digits of an integer that `parseExact` kept. */
function exactInteger(names: readonly string[], value: object): string | null {
  if (names.length !== 2 || names[0] !== "" || names[1] !== "~bigint") return null;
  const members = value as Record<string, unknown>;
  return Object.is(members[""], -0) ? String(members["~bigint"]) : null;
}

/** Replaces escapes by what they stand for, in what `parseExact` gave. The argument is used up. */
export function decodeValue(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) value[index] = decodeValue(value[index]);
    return value;
  }
  const names = Object.keys(value);
  const [name] = names;
  if (names.length === 1 && name !== undefined && name.startsWith("~") && TAG.test(name)) return untag(name, value);
  const integer = exactInteger(names, value);
  if (integer !== null) return BigInt(integer);
  for (const member of names) define(value, member, decodeValue((value as Record<string, unknown>)[member]));
  return value;
}

/** Whether `JSON.stringify` and `JSON.parse` keep the value as it is, and no member looks like an escape. */
function isPlain(value: unknown, depth: number): boolean {
  switch (typeof value) {
    case "string":
      return value.isWellFormed();
    case "boolean":
      return true;
    case "number":
      return isPlainNumber(value);
    case "object":
      return value === null || (depth < DEPTH_MAX && isPlainObject(value, depth + 1));
    default:
      return false;
  }
}

function isPlainNumber(value: number): boolean {
  if (Number.isInteger(value)) return Number.isSafeInteger(value) && !Object.is(value, -0);
  return Number.isFinite(value);
}

function isPlainObject(value: object, depth: number): boolean {
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) if (!isPlain(value[index], depth)) return false;
    return true;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return false;
  const names = Object.keys(value);
  if (names.length === 1 && TAG.test(names[0] ?? "")) return false;
  for (const name of names) {
    if (!isPlain((value as Record<string, unknown>)[name], depth) || !name.isWellFormed()) return false;
  }
  return true;
}

function write(value: unknown, path: string, parents: object[]): string {
  switch (typeof value) {
    case "string":
      if (!value.isWellFormed())
        throw new UnsupportedValue(`${path} has a lone surrogate: it is no valid Unicode text`);
      return JSON.stringify(value);
    case "boolean":
      return String(value);
    case "number":
      return writeNumber(value);
    case "bigint":
      return -(2n ** 53n) < value && value < 2n ** 53n ? `{"~bigint":"${value}"}` : String(value);
    case "undefined":
      return '{"~undefined":null}';
    case "object":
      return value === null ? "null" : writeObject(value, path, parents);
    default:
      throw new UnsupportedValue(`${path} is a ${typeof value}: it cannot be synced`);
  }
}

function writeNumber(value: number): string {
  if (isPlainNumber(value)) return String(value);
  if (Object.is(value, -0)) return '{"~number":"-0"}';
  if (!Number.isFinite(value)) return `{"~number":"${value}"}`;
  const text = String(value);
  return text.includes("e") ? text : value.toExponential().replace("e+", "e");
}

function writeObject(value: object, path: string, parents: object[]): string {
  if (parents.includes(value)) throw new UnsupportedValue(`${path} contains itself: it cannot be synced`);
  if (parents.length >= DEPTH_MAX) throw new UnsupportedValue(`${path} is nested more than ${DEPTH_MAX} deep`);
  const within = [...parents, value];
  if (Array.isArray(value)) {
    // Holes of a sparse array become undefined.
    return `[${Array.from(value, (item: unknown, index) => write(item, `${path}[${index}]`, within)).join(",")}]`;
  }
  return writeTagged(value, path, within) ?? writeMembers(value, path, within);
}

function writeTagged(value: object, path: string, within: object[]): string | null {
  if (value instanceof Date) return tag("date", Number.isNaN(value.getTime()) ? "null" : String(value.getTime()));
  if (value instanceof Map) {
    const entries = Array.from(
      value,
      ([key, item]) => `[${write(key, `${path}.key`, within)},${write(item, `${path}.value`, within)}]`,
    );
    return tag("map", `[${entries.join(",")}]`);
  }
  if (value instanceof Set)
    return tag("set", `[${Array.from(value, (item) => write(item, `${path}.item`, within)).join(",")}]`);
  if (value instanceof RegExp) return tag("regexp", JSON.stringify([value.source, value.flags]));
  if (value instanceof Error) return tag("error", JSON.stringify([value.name, value.message]));
  if (value instanceof ArrayBuffer) return writeBytes("ArrayBuffer", new Uint8Array(value));
  if (ArrayBuffer.isView(value)) {
    const kind = Object.prototype.toString.call(value).slice(8, -1);
    return writeBytes(kind, new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
  }
  if (value instanceof Number || value instanceof String || value instanceof Boolean || value instanceof BigInt) {
    return write(value.valueOf(), path, within);
  }
  return null;
}

function writeMembers(value: object, path: string, within: object[]): string {
  const kind = Object.prototype.toString.call(value).slice(8, -1);
  if (kind !== "Object") throw new UnsupportedValue(`${path} is a ${kind}: it cannot be synced`);
  const names = Object.keys(value);
  const only = names.length === 1;
  const members = names.map((name) => {
    if (!name.isWellFormed()) throw new UnsupportedValue(`a member name of ${path} has a lone surrogate`);
    const escaped = only && TAG.test(name) ? `~${name}` : name;
    return `${JSON.stringify(escaped)}:${write((value as Record<string, unknown>)[name], `${path}.${name}`, within)}`;
  });
  return `{${members.join(",")}}`;
}

function writeBytes(kind: string, bytes: Uint8Array): string {
  if (!(kind in VIEWS)) throw new UnsupportedValue(`a ${kind} cannot be synced`);
  return tag("bytes", JSON.stringify([kind, toBase64(bytes)]));
}

function tag(name: string, payload: string): string {
  return `{"~${name}":${payload}}`;
}

function untag(name: string, value: object): unknown {
  const payload = (value as Record<string, unknown>)[name];
  if (ESCAPED.test(name)) return { [name.slice(1)]: decodeValue(payload) };
  const decoded = payloads[name]?.(payload);
  // A tag with a payload of another form is a foreign writer's plain object.
  return decoded === undefined ? { [name]: decodeValue(payload) } : decoded.value;
}

type Decoded = { readonly value: unknown } | undefined;

const payloads: Readonly<Record<string, (payload: unknown) => Decoded>> = {
  "~date": (payload) => {
    if (payload === null) return { value: new Date(NaN) };
    if (!Number.isInteger(payload) || Math.abs(payload as number) > DATE_MS_MAX) return undefined;
    return { value: new Date(payload as number) };
  },
  "~bytes": (payload) => {
    if (!isPair(payload)) return undefined;
    const view = Object.hasOwn(VIEWS, payload[0]) ? VIEWS[payload[0]] : undefined;
    if (view === undefined) return undefined;
    const made = attempt(() => fromBase64(payload[1]));
    // `atob` takes spellings that the core does not.
    if (made === undefined || toBase64(made.value) !== payload[1]) return undefined;
    return attempt(() => view(made.value.buffer));
  },
  "~map": (payload) => {
    if (!Array.isArray(payload) || !payload.every((entry) => Array.isArray(entry) && entry.length === 2))
      return undefined;
    return { value: new Map(payload.map(([key, item]: [unknown, unknown]) => [decodeValue(key), decodeValue(item)])) };
  },
  "~set": (payload) => (Array.isArray(payload) ? { value: new Set(payload.map(decodeValue)) } : undefined),
  "~bigint": (payload) => {
    if (typeof payload !== "string" || !/^(0|-?[1-9]\d*)$/.test(payload)) return undefined;
    // A larger one is the integer itself.
    return Number.isSafeInteger(Number(payload)) ? { value: BigInt(payload) } : undefined;
  },
  "~undefined": (payload) => (payload === null ? { value: undefined } : undefined),
  "~number": (payload) => {
    if (typeof payload !== "string" || !["NaN", "Infinity", "-Infinity", "-0"].includes(payload)) return undefined;
    return { value: Number(payload) };
  },
  "~regexp": (payload) => (isPair(payload) ? attempt(() => new RegExp(payload[0], payload[1])) : undefined),
  "~error": (payload) => {
    if (!isPair(payload)) return undefined;
    const error = new Error(payload[1]);
    error.name = payload[0];
    return { value: error };
  },
};

function isPair(value: unknown): value is [string, string] {
  return Array.isArray(value) && value.length === 2 && typeof value[0] === "string" && typeof value[1] === "string";
}

function attempt<T>(make: () => T): { readonly value: T } | undefined {
  try {
    return { value: make() };
  } catch {
    return undefined;
  }
}

/** Sets an own member whatever its name: a plain assignment to `__proto__` would change the prototype and lose the member. */
function define(target: object, name: string, value: unknown): void {
  if (name === "__proto__") {
    Object.defineProperty(target, name, { value, writable: true, enumerable: true, configurable: true });
  } else {
    (target as Record<string, unknown>)[name] = value;
  }
}
