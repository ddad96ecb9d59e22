/** Fills the server's database `app` with cards: the few frames of `docs/protocol.md` that this takes. Runs in a page. */
import { cards } from "./documents.ts";

/** Cards per mutation: one frame of about 300 kB. */
const BATCH = 1000;

type Item = number | string | null | boolean | Uint8Array | readonly Item[];

/** Pushes cards 0 to `count` - 1; resolves when all are committed. */
export async function seed(url: string, token: string, count: number): Promise<void> {
  const socket = new WebSocket(url, "tidelock.v1");
  socket.binaryType = "arraybuffer";
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = reject;
  });
  const client = crypto.getRandomValues(new Uint8Array(16));
  const hello = [1, 1, "app", token, client, 1, 0, null, 1 << 20, ["cards"]];
  await exchange(socket, [0, [hello]], 0);
  for (let sequence = 1; (sequence - 1) * BATCH < count; sequence++) {
    const first = (sequence - 1) * BATCH;
    const changes = cards(first, Math.min(BATCH, count - first)).map((card) => [
      ["cards", card.id],
      0,
      [0, [new TextEncoder().encode(JSON.stringify(card))]],
    ]);
    await exchange(socket, [3, [[sequence, sequence - 1, Date.now(), changes, false]]], 1);
  }
  socket.close(1000);
}

/** Sends a frame and waits for one of the given type. */
function exchange(socket: WebSocket, frame: Item, type: number): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.onmessage = (event: MessageEvent<ArrayBuffer>) => {
      const bytes = new Uint8Array(event.data);
      if (bytes[1] === type) resolve();
      else if (bytes[1] === ERROR) reject(new Error(new TextDecoder().decode(bytes)));
    };
    socket.onclose = (event) => reject(new Error(`the connection closed (${event.code})`));
    const bytes: number[] = [];
    write(frame, bytes);
    socket.send(Uint8Array.from(bytes));
  });
}

/** Type of the Error frame. */
const ERROR = 6;

/** CBOR (RFC 8949), as far as frames use it. */
function write(item: Item, bytes: number[]): void {
  if (typeof item === "number") head(0, item, bytes);
  else if (typeof item === "boolean") bytes.push(item ? 0xf5 : 0xf4);
  else if (item === null) bytes.push(0xf6);
  else if (typeof item === "string") {
    const text = new TextEncoder().encode(item);
    head(3, text.length, bytes);
    for (const byte of text) bytes.push(byte);
  } else if (item instanceof Uint8Array) {
    head(2, item.length, bytes);
    for (const byte of item) bytes.push(byte);
  } else {
    head(4, item.length, bytes);
    for (const member of item) write(member, bytes);
  }
}

/** A major type with its argument, which is at most 2^53. */
function head(major: number, argument: number, bytes: number[]): void {
  const type = major << 5;
  if (argument < 24) bytes.push(type | argument);
  else if (argument < 2 ** 8) bytes.push(type | 24, argument);
  else if (argument < 2 ** 16) bytes.push(type | 25, argument >> 8, argument & 255);
  else if (argument < 2 ** 32)
    bytes.push(type | 26, argument >>> 24, (argument >>> 16) & 255, (argument >>> 8) & 255, argument & 255);
  else {
    bytes.push(type | 27);
    const view = new DataView(new ArrayBuffer(8));
    view.setBigUint64(0, BigInt(argument));
    for (let index = 0; index < 8; index++) bytes.push(view.getUint8(index));
  }
}
