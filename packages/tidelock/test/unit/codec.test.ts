/** Keys and values: the vectors that the core is held to, as well. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { decodeKey, encodeKey, UnsupportedKey } from "../../src/worker/key.ts";
import { decodeText, encodeValue, UnsupportedValue } from "../../src/worker/value.ts";

type Described = readonly [kind: string, ...payload: unknown[]];

interface KeyVectors {
  readonly keys: readonly { readonly key: Described; readonly form: string }[];
  readonly encode_only: readonly { readonly key: Described; readonly form: string }[];
}

interface ValueVectors {
  readonly values: readonly { readonly value: Described; readonly json: string }[];
  readonly decode_only: readonly { readonly value: Described; readonly json: string }[];
}

const keys = vectors("keys.json") as KeyVectors;
const values = vectors("values.json") as ValueVectors;

void test("keys have the form of the vectors, and come back", () => {
  for (const { key, form } of keys.keys) {
    assert.equal(encodeKey(keyOf(key)), form);
    assert.deepEqual(describeKey(decodeKey(form)), key, form);
  }
  for (const { key, form } of keys.encode_only) assert.equal(encodeKey(keyOf(key)), form);
});

void test("a view is the key of its bytes, and lone surrogates are refused", () => {
  const bytes = Uint8Array.of(9, 0, 128, 255, 9);
  assert.equal(encodeKey(bytes.subarray(1, 4)), encodeKey(Uint8Array.of(0, 128, 255).buffer));
  for (const key of ["\ud800", ["a", "\udc00"]]) assert.throws(() => encodeKey(key), UnsupportedKey);
});

void test("values have the JSON of the vectors, and come back", () => {
  for (const { value, json } of values.values) {
    assert.equal(encodeValue(valueOf(value)), json);
    assert.deepEqual(describeValue(decodeText(json)), value, json);
  }
});

void test("foreign writers' spellings are understood", () => {
  for (const { value, json } of values.decode_only) assert.deepEqual(describeValue(decodeText(json)), value, json);
});

void test("a foreign object is not taken for an integer that JSON.parse would round", () => {
  const digits = "9007199254740993";
  for (const zero of ["-0", "-0.0", "-0e7", "-1e-999", "0"]) {
    const json = `[{"":${zero},"~bigint":"${digits}"},{"":${zero},"~bigint":"5"},${digits}]`;
    const expected = [{ "": 0, "~bigint": digits }, { "": 0, "~bigint": "5" }, BigInt(digits)];
    assert.deepEqual(decodeText(json), expected, json);
  }
  const row = { "": -0, "~bigint": digits };
  assert.deepEqual(decodeText(encodeValue(row)), row);
});

void test("a row with one escape among plain members is read back", () => {
  const row = { id: 1, at: new Date(5), tags: ["a", { deep: new Set([1n]) }], __proto: { "~date": 1 } };
  assert.deepEqual(decodeText(encodeValue(row)), row);
});

void test("what has no JSON form is refused with its path", () => {
  const cyclic: { a: { self?: unknown } } = { a: {} };
  cyclic.a.self = cyclic;
  let deep: unknown = 0;
  for (let level = 0; level <= 100; level++) deep = [deep];
  const refused: [unknown, RegExp][] = [
    [{ a: [() => 0] }, /\$\.a\[0\] is a function/],
    [{ a: Symbol("x") }, /\$\.a is a symbol/],
    [cyclic, /\$\.a\.self contains itself/],
    [deep, /nested more than 100 deep/],
    [{ a: "\ud800" }, /\$\.a has a lone surrogate/],
    [{ "\udc00": 1 }, /member name of \$ has a lone surrogate/],
    [{ a: new Blob(["x"]) }, /\$\.a is a Blob/],
  ];
  for (const [value, message] of refused) {
    assert.throws(
      () => encodeValue(value),
      (error) => error instanceof UnsupportedValue && message.test(error.message),
    );
  }
});

function vectors(name: string): unknown {
  return JSON.parse(readFileSync(new URL(`../../../../testdata/${name}`, import.meta.url), "utf8"));
}

function keyOf([kind, payload]: Described): IDBValidKey {
  switch (kind) {
    case "string":
      return String(payload);
    case "number":
      return Number(payload);
    case "date":
      return new Date(Number(payload));
    case "binary":
      return bytesOf(String(payload));
    case "array":
      return (payload as Described[]).map(keyOf);
    default:
      throw new TypeError(`no key of kind ${kind}`);
  }
}

function describeKey(key: IDBValidKey): Described {
  if (typeof key === "string") return ["string", key];
  if (typeof key === "number") return ["number", String(key)];
  if (key instanceof Date) return ["date", key.getTime()];
  if (Array.isArray(key)) return ["array", key.map(describeKey)];
  return ["binary", hex(key)];
}

function valueOf([kind, ...payload]: Described): unknown {
  const [first, second] = payload;
  const list = (items: unknown): unknown[] => (items as Described[]).map(valueOf);
  switch (kind) {
    case "null":
      return null;
    case "undefined":
      return undefined;
    case "boolean":
    case "string":
      return first;
    case "number":
      return Number(first);
    case "bigint":
      return BigInt(String(first));
    case "date":
      return new Date((first as number | null) ?? NaN);
    case "bytes":
      return binaryOf(String(first), bytesOf(String(second)));
    case "map":
      return new Map((first as [Described, Described][]).map(([key, item]) => [valueOf(key), valueOf(item)]));
    case "set":
      return new Set(list(first));
    case "regexp":
      return new RegExp(String(first), String(second));
    case "error":
      return Object.assign(new Error(String(second)), { name: first });
    case "array":
      return list(first);
    case "object": {
      const object = {};
      for (const [name, value] of first as [string, Described][]) {
        Object.defineProperty(object, name, {
          value: valueOf(value),
          enumerable: true,
          configurable: true,
          writable: true,
        });
      }
      return object;
    }
    default:
      throw new TypeError(`no value of kind ${kind}`);
  }
}

function describeValue(value: unknown): Described {
  switch (typeof value) {
    case "number":
      return ["number", Object.is(value, -0) ? "-0" : String(value)];
    case "bigint":
      return ["bigint", String(value)];
    case "undefined":
      return ["undefined"];
    case "object":
      return value === null ? ["null"] : describeObject(value);
    default:
      return [typeof value, value];
  }
}

function describeObject(value: object): Described {
  if (Array.isArray(value)) return ["array", value.map(describeValue)];
  if (value instanceof Date) return ["date", Number.isNaN(value.getTime()) ? null : value.getTime()];
  if (value instanceof Map)
    return ["map", Array.from(value, ([key, item]) => [describeValue(key), describeValue(item)])];
  if (value instanceof Set) return ["set", Array.from(value, describeValue)];
  if (value instanceof RegExp) return ["regexp", value.source, value.flags];
  if (value instanceof Error) return ["error", value.name, value.message];
  if (value instanceof ArrayBuffer) return ["bytes", "ArrayBuffer", hex(value)];
  if (ArrayBuffer.isView(value)) return ["bytes", Object.prototype.toString.call(value).slice(8, -1), hex(value)];
  return ["object", Object.entries(value).map(([name, member]) => [name, describeValue(member)])];
}

function bytesOf(text: string): ArrayBuffer {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => parseInt(pair, 16)).buffer;
}

function binaryOf(kind: string, buffer: ArrayBuffer): unknown {
  if (kind === "ArrayBuffer") return buffer;
  const constructor = (globalThis as unknown as Record<string, new (buffer: ArrayBuffer) => unknown>)[kind];
  if (constructor === undefined) throw new TypeError(`no ${kind} here`);
  return new constructor(buffer);
}

function hex(source: ArrayBuffer | ArrayBufferView): string {
  const bytes =
    source instanceof ArrayBuffer
      ? new Uint8Array(source)
      : new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
