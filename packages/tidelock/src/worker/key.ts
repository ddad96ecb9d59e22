/**
 * IndexedDB keys in platform form, as `docs/protocol.md` section 2 defines it. The core has the same rule; both are held to
 * `testdata/keys.json`.
 */

/** A key that has no platform form. */
export class UnsupportedKey extends Error {
  override name = "UnsupportedKey";
}

/** The platform form of a key. */
export function encodeKey(key: IDBValidKey): string {
  if (typeof key === "string") return encodeString(key);
  if (typeof key === "number") return `~n${key === 0 ? 0 : key}`;
  if (key instanceof Date) return `~d${key.getTime()}`;
  if (Array.isArray(key)) return `~a${JSON.stringify(key.map((part: IDBValidKey) => encodeKey(part)))}`;
  if (key instanceof ArrayBuffer) return `~b${toBase64Url(new Uint8Array(key))}`;
  if (ArrayBuffer.isView(key)) return `~b${toBase64Url(new Uint8Array(key.buffer, key.byteOffset, key.byteLength))}`;
  throw new UnsupportedKey(`a key of type ${typeof key} cannot be synced`);
}

/** The key of a platform form that the core handed out. */
export function decodeKey(form: string): IDBValidKey {
  if (!form.startsWith("~")) return form;
  const rest = form.slice(2);
  switch (form[1]) {
    case "s":
      return rest;
    case "n":
      return Number(rest);
    case "d":
      return new Date(Number(rest));
    case "b":
      return fromBase64Url(rest);
    case "a":
      return parts(rest).map(decodeKey);
    default:
      throw new UnsupportedKey(`${form} is not a key in platform form`);
  }
}

function encodeString(key: string): string {
  if (!key.isWellFormed()) throw new UnsupportedKey("a key with a lone surrogate cannot be synced");
  return key === "" || key.startsWith("~") ? `~s${key}` : key;
}

function parts(text: string): string[] {
  const parsed: unknown = JSON.parse(text);
  if (!Array.isArray(parsed) || !parsed.every((part): part is string => typeof part === "string")) {
    throw new UnsupportedKey(`${text} is not an array of keys`);
  }
  return parsed;
}

function toBase64Url(bytes: Uint8Array): string {
  return toBase64(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function fromBase64Url(text: string): ArrayBuffer {
  return fromBase64(text.replaceAll("-", "+").replaceAll("_", "/")).buffer;
}

/** Base64 (RFC 4648 section 4, padded). */
export function toBase64(bytes: Uint8Array): string {
  let text = "";
  // `apply` takes a bounded number of arguments.
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

/** The bytes of a base64 text. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
