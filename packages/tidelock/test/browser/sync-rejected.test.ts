/** Writes that the server's rules or schema reject: the others land, the rejected ones are taken back and listed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Op, OpenSpec } from "./pages/sync-driver.ts";
import { flushed, until, untilPhase, withStack } from "./stack.ts";

const CONFIG = `
[databases.app]
path = "app.db"

[databases.app.collections.notes]
read = 'identity.sub != ""'
write = 'new == null || !has(new.owner) || new.owner == identity.sub'
schema = { type = "object", required = ["title"], properties = { title = { type = "string", maxLength = 20 } } }
`;
const SPEC: OpenSpec = { stores: [{ name: "notes", keyPath: "id" }] };
const GOOD = 999;
const TOO_LONG = "far longer than the schema allows it";

void test("one write in a thousand is rejected", { timeout: 90_000 }, async () => {
  await withStack({ config: CONFIG }, async (stack) => {
    const page = await stack.client(SPEC);
    await page.evaluate(() => driver.run([{ ops: [["put", "notes", { id: "bad", title: "before" }]] }]));
    await flushed(page);
    await page.evaluate(() => driver.offline());
    await untilPhase(page, "offline");
    const writes: Op[] = Array.from({ length: GOOD }, (_, id) => [
      "put",
      "notes",
      { id: `n${id}`, title: `note ${id}` },
    ]);
    writes.splice(500, 0, ["put", "notes", { id: "bad", title: TOO_LONG }]);
    const outcomes = await page.evaluate(
      (given) => driver.run((JSON.parse(given) as Op[]).map((op) => ({ ops: [op] }))),
      JSON.stringify(writes),
    );
    assert.ok(outcomes.every((failure) => failure === null));
    await page.evaluate(() => driver.online());
    await flushed(page);

    const state = await stack.state("notes");
    assert.equal(Object.keys(state).length, GOOD + 1);
    assert.deepEqual(state["bad"], { id: "bad", title: "before" });
    const rows = new Map(await page.evaluate(() => driver.dump("notes")));
    assert.equal(rows.size, GOOD + 1);
    assert.deepEqual(rows.get("bad"), { id: "bad", title: "before" }, "the row is rolled back");
    const [entry, ...more] = await page.evaluate(() => driver.rejected());
    assert.deepEqual(more, []);
    assert.equal(entry?.code, "schema-violation");
    assert.match(entry.message, /title/);
    assert.deepEqual(entry.documents, [{ store: "notes", key: "bad", mine: { id: "bad", title: TOO_LONG } }]);
    assert.equal((await page.evaluate(() => driver.heard.rejected)).length, 1);
    assert.equal((await page.evaluate(() => driver.status)).rejected, 1);
    assert.deepEqual(await page.evaluate(() => driver.heard.errors), []);
  });
});

void test("a rejected transaction is taken back whole, by rule and by schema", { timeout: 60_000 }, async () => {
  await withStack({ config: CONFIG }, async (stack) => {
    const page = await stack.client(SPEC);
    await page.evaluate(() =>
      driver.run([
        {
          ops: [
            ["put", "notes", { id: "a", title: "fine" }],
            ["put", "notes", { id: "b", title: "not mine", owner: "bob" }],
          ],
        },
        { ops: [["put", "notes", { id: "c", title: "fine" }]] },
      ]),
    );
    await flushed(page);
    assert.deepEqual(Object.keys(await stack.state("notes")), ["c"]);
    assert.deepEqual(await page.evaluate(() => driver.dump("notes")), [["c", { id: "c", title: "fine" }]]);
    const [entry] = await page.evaluate(() => driver.rejected());
    assert.equal(entry?.code, "forbidden");
    assert.deepEqual(entry.documents.map(({ key }) => key).sort(), ["a", "b"]);

    // A retry is refused for the same reason; it is listed again and nothing else changes.
    await page.evaluate((id) => driver.retry(id), entry.id);
    const again = await until(
      "the retried write is refused again",
      () => page.evaluate(() => driver.rejected()),
      (list) => list.length === 1 && list[0]?.id !== entry.id,
    );
    await flushed(page);
    assert.deepEqual(await page.evaluate(() => driver.dump("notes")), [["c", { id: "c", title: "fine" }]]);
    await page.evaluate((id) => driver.discard(id), again[0]?.id ?? 0);
    assert.deepEqual(await page.evaluate(() => driver.rejected()), []);
    await until(
      "the count follows",
      () => page.evaluate(() => driver.status.rejected),
      (count) => count === 0,
    );
  });
});

void test("a corrected write lands, and a retry does once the reason is gone", { timeout: 60_000 }, async () => {
  await withStack({ config: CONFIG }, async (stack) => {
    const page = await stack.client(SPEC);
    await page.evaluate(
      (title) =>
        driver.run([
          { ops: [["put", "notes", { id: "a", title }]] },
          { ops: [["put", "notes", { id: "b", title: "b", owner: "bob" }]] },
        ]),
      TOO_LONG,
    );
    await flushed(page);
    const entries = await page.evaluate(() => driver.rejected());
    assert.equal(entries.length, 2);
    await page.evaluate(() => driver.run([{ ops: [["put", "notes", { id: "a", title: "short" }]] }]));
    await flushed(page);
    assert.deepEqual(await stack.state("notes"), { a: { id: "a", title: "short" } });
    for (const entry of entries)
      if (entry.documents[0]?.key === "a") await page.evaluate((id) => driver.discard(id), entry.id);

    // The same person signs in as bob: the write that was refused to ann is allowed.
    await page.reload();
    await page.evaluate((spec) => driver.open(spec), { ...SPEC, user: "bob" });
    const [left, ...more] = await page.evaluate(() => driver.rejected());
    assert.deepEqual(more, []);
    await page.evaluate((id) => driver.retry(id), left?.id ?? 0);
    assert.deepEqual(
      await page.evaluate(() => driver.heard.changes),
      [{ store: "notes", keys: ["b"], origin: "remote" }],
      "the row that is back is told",
    );
    await flushed(page);
    assert.deepEqual(await page.evaluate(() => driver.rejected()), []);
    assert.deepEqual((await stack.state("notes"))["b"], { id: "b", title: "b", owner: "bob" });
  });
});
