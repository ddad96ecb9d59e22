/** The WASM core, as `crates/wasm` exports it. */

/** What a function of the core takes: numbers and truth values as they are; texts, bytes and lists of them are handed over before the call. */
type Argument = number | boolean | string | Uint8Array | readonly (string | Uint8Array)[];

interface Exports {
  readonly memory: WebAssembly.Memory;
  room(bytes: number): number;
  take(bytes: number): void;
  result_at(index: number): number;
  result_bytes(index: number): number;
}

/** The functions of `crates/wasm`, which says what each does. */
export interface Core {
  create(
    now: number,
    seed: number,
    keptMs: number,
    keptBytes: number,
    resolver: boolean,
    offline: boolean,
    everyChannel: boolean,
    collectionCount: number,
    database: string,
    collections: readonly string[],
    channels: readonly string[],
  ): void;
  /** Not zero when there is an effect: result 0 is its kind, result 1 its bytes or JSON text. */
  poll_effect(): number;
  /** Not a number for never. */
  next_timeout_ms(): number;
  handle_timeout(now: number): void;
  handle_captured(now: number): void;
  handle_rejected_removed(now: number): void;
  /** Result 0 is JSON text. */
  quarantine(): void;
  handle_connected(now: number, token: string): void;
  handle_disconnected(now: number, reason: string): void;
  handle_message(now: number, message: Uint8Array): void;
  handle_token(now: number, token: string): void;
  handle_network_hint(now: number): void;
  set_online(now: number, online: boolean): void;
  set_channels(now: number, channels: readonly string[]): void;
  resolve(now: number, round: number, collection: string, key: string, value: readonly string[]): void;
  /** Result 0 is JSON text. */
  status(): void;
  is_synced(): number;
  task_relaxed(): number;
  /** Results: the verdict, the plan, the bodies, and from 3 on the blobs. */
  step(): void;
  task_committed(now: number): void;
  task_failed(now: number, failure: string, message: string): void;
  row_refused(collection: string, key: string, reason: string): void;
  read_state(record: readonly Uint8Array[]): void;
  read_pages(names: readonly string[]): void;
  read_page(page: readonly Uint8Array[]): void;
  read_pending(): void;
  add_pending(sequence: number, record: Uint8Array): void;
  read_rejected_count(count: number): void;
  read_outbox(): void;
  add_outbox_record(number: number, at: number, adopt: boolean, transaction: string, keys: readonly string[]): void;
  add_outbox_unsupported(reasons: readonly string[]): void;
  add_outbox_range(
    hasLower: boolean,
    hasUpper: boolean,
    lowerOpen: boolean,
    upperOpen: boolean,
    bounds: readonly string[],
  ): void;
  read_rows(texts: readonly string[]): void;
  read_scan(keysAndTexts: readonly string[]): void;
  /** A result of the last call that had any. */
  text(index: number): string;
  bytes(index: number): Uint8Array<ArrayBuffer>;
}

/** A character of UTF-16 has at most so many bytes in UTF-8. */
const UTF8_BYTES_MAX = 3;

const encoder: TextEncoder = new TextEncoder();
const decoder: TextDecoder = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });

/** Loads the core. */
export async function loadCore(url: string): Promise<Core> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url} answers ${response.status}`);
  // A server that does not know the type of WASM files is no reason to fail.
  const typed = response.headers.get("content-type")?.startsWith("application/wasm") ?? false;
  const { instance } = typed
    ? await WebAssembly.instantiateStreaming(response)
    : await WebAssembly.instantiate(await response.arrayBuffer());
  return coreOf(instance.exports as unknown as Exports);
}

function coreOf(wasm: Exports): Core {
  const handOver = (value: string | Uint8Array): void => {
    const room = typeof value === "string" ? value.length * UTF8_BYTES_MAX : value.length;
    const at = wasm.room(room);
    const place = new Uint8Array(wasm.memory.buffer, at, room);
    if (typeof value !== "string") place.set(value);
    wasm.take(typeof value === "string" ? encoder.encodeInto(value, place).written : room);
  };
  const call =
    (method: (...args: (number | boolean)[]) => unknown) =>
    (...args: Argument[]): unknown => {
      const plain: (number | boolean)[] = [];
      for (const arg of args.flat()) {
        if (typeof arg === "number" || typeof arg === "boolean") plain.push(arg);
        else handOver(arg);
      }
      return method(...plain);
    };
  const result = (index: number): Uint8Array<ArrayBuffer> =>
    new Uint8Array(wasm.memory.buffer, wasm.result_at(index), wasm.result_bytes(index));
  const core: Record<string, unknown> = {
    text: (index: number) => decoder.decode(result(index)),
    bytes: (index: number) => result(index).slice(),
  };
  for (const [name, member] of Object.entries(wasm)) {
    if (typeof member === "function") core[name] = call(member as (...args: (number | boolean)[]) => unknown);
  }
  return core as unknown as Core;
}
