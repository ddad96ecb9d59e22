/** A database that was there before the package: its rows are pushed, equal ones are not transferred, others are merged. All kinds of keys and values. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Op, OpenSpec } from "./pages/sync-driver.ts";
import { flushed, until, untilPhase, withStack } from "./stack.ts";

const SPEC: OpenSpec = { stores: [{ name: "rows" }] };
const ROWS = 500;
/** Text that does not compress well, so that a transferred row shows in the byte count. */
const noise = (id: number): string => Array.from({ length: 20 }, (_, at) => Math.imul(id * 31 + at + 1, 0x9e3779b1).toString(36)).join("");

void test("a populated database is pushed, and equal rows are not transferred", { timeout: 90_000 }, async () => {
  await withStack({}, async (stack) => {
    const ops: Op[] = Array.from({ length: ROWS }, (_, id) => ["put", "rows", { n: id, text: noise(id) }, `k${id}`]);
    const json = JSON.stringify(ops).length;
    const first = await (await stack.browser()).open(stack.url);
    await first.evaluate((given) => driver.populate(JSON.parse(given) as OpenSpec, []), JSON.stringify({ ...SPEC, database: "other" }));
    await first.evaluate(([spec, given]) => driver.populate(JSON.parse(spec ?? "") as OpenSpec, [{ ops: JSON.parse(given ?? "") as Op[] }]), [JSON.stringify(SPEC), JSON.stringify(ops)]);
    await first.evaluate((spec) => driver.open(spec), SPEC);
    await flushed(first);
    assert.equal((await stack.documents("rows")).length, ROWS);
    const pushed = stack.network.sent;
    assert.ok(pushed > ROWS * 40, "the rows were sent");
    await first.evaluate(() => driver.offline());
    await untilPhase(first, "offline");

    // The second device has the same rows but two: one with a member that the server lacks, one that only it has.
    const own: Op[] = [...ops.slice(1), ["put", "rows", { n: 0, text: noise(0), extra: true }, "k0"], ["put", "rows", { n: -1 }, "mine"]];
    const second = await (await stack.browser()).open(stack.url);
    await second.evaluate(([spec, given]) => driver.populate(JSON.parse(spec ?? "") as OpenSpec, [{ ops: JSON.parse(given ?? "") as Op[] }]), [JSON.stringify(SPEC), JSON.stringify(own)]);
    const before = { sent: stack.network.sent, received: stack.network.received };
    await second.evaluate((spec) => driver.open(spec), { ...SPEC, user: "bob" });
    await flushed(second);
    const sent = stack.network.sent - before.sent;
    const received = stack.network.received - before.received;
    console.log(`sync adopt: ${ROWS} rows of ${json} B JSON: ${pushed} B pushed at first; equal on both sides: ${sent} B sent, ${received} B received`);
    const state = await stack.state("rows");
    assert.equal(Object.keys(state).length, ROWS + 1);
    assert.deepEqual(state["mine"], { n: -1 });
    assert.deepEqual(state["k0"], { n: 0, text: noise(0), extra: true });
    assert.equal((await second.evaluate(() => driver.dump("rows"))).length, ROWS + 1);
    // A version and a key are enough for an equal row.
    assert.ok(sent + received < ROWS * 40 + 4000, `${sent + received} B for ${ROWS} equal rows`);
  });
});

void test("every kind of key and value survives a round trip", { timeout: 60_000 }, async () => {
  await withStack({}, async (stack) => {
    const a = await stack.client(SPEC);
    await a.evaluate(() => driver.putExotic("rows"));
    await flushed(a);
    const b = await stack.client({ ...SPEC, user: "bob" });
    await flushed(b);
    const expected = await a.evaluate(() => driver.exotic());
    assert.ok(expected.length > 15);
    assert.deepEqual(await b.evaluate(() => driver.describe("rows")), expected);
    assert.deepEqual(await a.evaluate(() => driver.describe("rows")), expected);
    assert.deepEqual(await a.evaluate(() => driver.rejected()), []);
    // The other browser writes the rows back with a change: they are the same there, too.
    await b.evaluate(async () => {
      const rows = await driver.dump("rows");
      await driver.run([{ ops: rows.map(([key, value]) => ["put", "rows", { value }, key]) }]);
    });
    await flushed(b);
    const wrapped = expected.map(([key, value]) => [key, `{"value":${value}}`]);
    await until("the rows come back", () => a.evaluate(() => driver.describe("rows")), (rows) => JSON.stringify(rows) === JSON.stringify(wrapped));
  });
});

void test("integers beyond 2^53 arrive as BigInt and go back unchanged", { timeout: 60_000 }, async () => {
  await withStack({}, async (stack) => {
    const page = await stack.client(SPEC);
    await untilPhase(page, "live");
    const big = "123456789012345678901234567890";
    const response = await stack.rest("PUT", "app/rows/big", `{"id":9007199254740993,"huge":${big},"small":1}`, { "content-type": "application/json" });
    assert.ok(response.ok, `${response.status}`);
    const describe = (): Promise<[string, string][]> => page.evaluate(() => driver.describe("rows"));
    await until("the document arrives", describe, (rows) => rows.length === 1);
    assert.deepEqual(await describe(), [['"big"', `{"huge":${big}n,"id":9007199254740993n,"small":1}`]]);
    await page.evaluate(async () => {
      const [row] = await driver.dump("rows");
      await driver.run([{ ops: [["put", "rows", { ...(row?.[1] as object), small: 2 }, "big"]] }]);
    });
    await flushed(page);
    const text = await (await stack.rest("GET", "app/rows/big")).text();
    assert.match(text, /"id":9007199254740993\b/);
    assert.match(text, new RegExp(`"huge":${big}\\b`));
    assert.match(text, /"small":2\b/);
  });
});

void test("documents that cannot be synced are isolated with a clear reason", { timeout: 90_000 }, async () => {
  await withStack({}, async (stack) => {
    const page = await stack.client(SPEC);
    await untilPhase(page, "live");
    await page.evaluate(async () => {
      let deep: unknown = 1;
      for (let level = 0; level < 150; level++) deep = [deep];
      const bad: [string, unknown][] = [
        ["surrogate", { text: "lone \ud800 surrogate" }],
        ["member", { "\udc00": 1 }],
        ["deep", deep],
        ["large", { text: "x".repeat(2 * 1024 * 1024) }],
        ["blob", new Blob(["x"])],
        ["k".repeat(2000), { text: "long key" }],
        ["bad \ud800 key", { text: "key" }],
      ];
      await driver.run(bad.map(([key, value]) => ({ ops: [["put", "rows", value, key]] })));
      await driver.run([{ ops: [["put", "rows", { fine: true }, "good"]] }]);
    });
    await flushed(page);
    assert.deepEqual(await stack.state("rows"), { good: { fine: true } });
    const rejected = await page.evaluate(async () => (await driver.rejected()).map(({ code, message, documents }) => ({ code, message, keys: documents.map(({ key }) => String(key).slice(0, 12)) })));
    for (const { keys, code, message } of rejected) console.log(`sync adopt: ${keys.join()}: ${code}: ${message.slice(0, 100)}`);
    const errors = await page.evaluate(() => driver.heard.errors);
    // A key that cannot be named to the server is reported; its row stays on this device.
    assert.deepEqual(errors.map(({ code }) => code), ["unsupported-key"]);
    const named = new Set(rejected.flatMap(({ keys }) => keys));
    for (const key of ["surrogate", "member", "deep", "large", "blob", "kkkkkkkkkkkk"]) assert.ok(named.has(key), `${key} is listed`);
    assert.equal(rejected.length, 6);
    await page.evaluate(() => driver.run([{ ops: [["put", "rows", { fine: 2 }, "good"]] }]));
    await flushed(page);
    assert.deepEqual(await stack.state("rows"), { good: { fine: 2 } }, "the sync goes on");
  });
});
