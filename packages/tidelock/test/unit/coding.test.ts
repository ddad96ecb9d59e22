/** Codings of messages: what travels deflated, what is refused, and the order of frames. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateRawSync, inflateRawSync } from "node:zlib";
import type { Bytes } from "../../src/worker/coding.ts";
import { decodeMessage, encodeMessage, FRAME_BYTES_MAX, inOrder, subprotocols } from "../../src/worker/coding.ts";

const [DEFLATE, PLAIN] = subprotocols() as [string, string];

function frame(length: number): Bytes {
  return Uint8Array.from({ length }, (_, index) => (index === 0 ? 0x82 : index % 50));
}

function unexpected(): never {
  assert.fail("not expected");
}

function deflated(bytes: Uint8Array): Bytes {
  return Uint8Array.of(1, ...deflateRawSync(bytes));
}

void test("the coding is offered before the plain form", () => {
  assert.deepEqual([DEFLATE, PLAIN], ["tidelock.v1.deflate", "tidelock.v1"]);
});

void test("large frames are deflated where that was agreed", async () => {
  const large = frame(5000);
  const message = await encodeMessage(large, DEFLATE);
  assert.equal(message[0], 1);
  assert.ok(message.length < 1000);
  assert.deepEqual(Uint8Array.from(inflateRawSync(message.subarray(1))), large);
  assert.equal(encodeMessage(large, PLAIN), large);
  assert.equal(encodeMessage(frame(1023), DEFLATE).constructor, Uint8Array, "a small frame does not wait");
});

void test("messages are inflated, plain ones taken as they are", async () => {
  const large = frame(300_000);
  assert.deepEqual(await decodeMessage(deflated(large)), large);
  assert.equal(decodeMessage(large), large);
});

void test("what is no deflated frame is refused", async () => {
  const whole = deflated(frame(5000));
  await assert.rejects(async () => decodeMessage(whole.subarray(0, whole.length - 5)));
  await assert.rejects(async () => decodeMessage(Uint8Array.of(1, 255, 255, 255)));
  await assert.rejects(async () => decodeMessage(Uint8Array.of(1)));
  const bomb = deflated(new Uint8Array(FRAME_BYTES_MAX + 1));
  assert.ok(bomb.length < 100_000);
  await assert.rejects(async () => decodeMessage(bomb), RangeError);
  const largest = await decodeMessage(deflated(new Uint8Array(FRAME_BYTES_MAX)));
  assert.equal(largest.length, FRAME_BYTES_MAX);
});

void test("what is there goes on at once, unless something is still to come", async () => {
  const seen: number[] = [];
  const put = inOrder((bytes) => seen.push(bytes[0] ?? -1), unexpected);
  put(Uint8Array.of(1));
  assert.deepEqual(seen, [1]);
  let resolve: (bytes: Bytes) => void = unexpected;
  const late = new Promise<Bytes>((done) => (resolve = done));
  put(late);
  put(Uint8Array.of(3));
  put(Promise.resolve(Uint8Array.of(4)));
  await new Promise(setImmediate);
  assert.deepEqual(seen, [1]);
  resolve(Uint8Array.of(2));
  await new Promise(setImmediate);
  assert.deepEqual(seen, [1, 2, 3, 4]);
  put(Uint8Array.of(5));
  assert.deepEqual(seen, [1, 2, 3, 4, 5]);
});

void test("nothing goes on after a failure", async () => {
  const seen: number[] = [];
  const errors: unknown[] = [];
  const put = inOrder(
    (bytes) => seen.push(bytes[0] ?? -1),
    (error) => errors.push(error),
  );
  put(Promise.reject(new Error("broken")));
  put(Uint8Array.of(1));
  await new Promise(setImmediate);
  put(Uint8Array.of(2));
  await new Promise(setImmediate);
  assert.deepEqual(seen, []);
  assert.match(String(errors[0]), /broken/);
});
