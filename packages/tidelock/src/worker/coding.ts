/**
 * Codings of messages (`docs/protocol.md` section 1): a frame travels as it is, or deflated where both sides know how. The streams
 * of the platform do the work, so frames wait for each other: they go on in their order.
 */

/** Bytes with memory of their own. */
export type Bytes = Uint8Array<ArrayBuffer>;

const PLAIN = "tidelock.v1";
const DEFLATE = "tidelock.v1.deflate";
/** First byte of a deflated message; a frame begins with another. */
const DEFLATED = 1;
/** A frame below this many bytes goes as it is. */
const DEFLATE_BYTES_MIN = 1024;
/** A message that inflates to more is refused. */
export const FRAME_BYTES_MAX: number = 64 * 2 ** 20;
const FORMAT = "deflate-raw";

/** Names for the WebSocket handshake: those of the codings that this platform has. */
export function subprotocols(): string[] {
  try {
    new DecompressionStream(FORMAT);
    return [DEFLATE, PLAIN];
  } catch {
    return [PLAIN];
  }
}

/** The message for a frame, under the subprotocol agreed. */
export function encodeMessage(frame: Bytes, subprotocol: string): Bytes | Promise<Bytes> {
  if (subprotocol !== DEFLATE || frame.length < DEFLATE_BYTES_MIN) return frame;
  return through(new CompressionStream(FORMAT), frame, [Uint8Array.of(DEFLATED)], Infinity);
}

/** The frame of a message. */
export function decodeMessage(message: Bytes): Bytes | Promise<Bytes> {
  if (message[0] !== DEFLATED) return message;
  return through(new DecompressionStream(FORMAT), message.subarray(1), [], FRAME_BYTES_MAX);
}

/**
 * A way for bytes that keeps their order: what is there goes on at once unless something before it is still to come. After a failure
 * nothing goes on.
 */
export function inOrder(
  deliver: (bytes: Bytes) => void,
  failed: (error: unknown) => void,
): (bytes: Bytes | Promise<Bytes>) => void {
  let waiting = 0;
  let last: Promise<void> = Promise.resolve();
  const next = async (before: Promise<void>, bytes: Promise<Bytes>): Promise<void> => {
    const [there] = await Promise.all([bytes, before]);
    waiting--;
    deliver(there);
  };
  return (bytes) => {
    if (waiting === 0 && bytes instanceof Uint8Array) return deliver(bytes);
    waiting++;
    last = next(last, Promise.resolve(bytes));
    last.catch(failed);
  };
}

/** What a stream makes of bytes, after what is there already. */
async function through(
  stream: CompressionStream | DecompressionStream,
  bytes: Bytes,
  parts: Bytes[],
  bytesMax: number,
): Promise<Bytes> {
  const writer = stream.writable.getWriter();
  // What goes wrong shows when the result is read.
  writer.write(bytes).catch(() => undefined);
  writer.close().catch(() => undefined);
  const reader = stream.readable.getReader() as ReadableStreamDefaultReader<Bytes>;
  let length = parts.reduce((sum, part) => sum + part.length, 0);
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    length += read.value.length;
    if (length > bytesMax) {
      await reader.cancel();
      throw new RangeError(`a frame of more than ${bytesMax} bytes`);
    }
    parts.push(read.value);
  }
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
