/** What other writers and odd keys bring: documents whose key is not that of their body, bounds that have no platform form. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Page } from "playwright-core";
import { flushed, until, untilPhase, withStack } from "./stack.ts";
import type { Stack } from "./stack.ts";

async function store(stack: Stack, path: string, value: unknown): Promise<void> {
  const response = await stack.rest("PUT", `app/${path}`, JSON.stringify(value));
  assert.ok(response.ok, await response.text());
}

function rows(page: Page): Promise<[IDBValidKey, unknown][]> {
  return page.evaluate(() => driver.dump("notes"));
}

void test("a document under another key than its body's is refused", { timeout: 60_000 }, async () => {
  await withStack({}, async (stack) => {
    const page = await stack.client({ stores: [{ name: "notes", keyPath: "at.id", autoIncrement: true }] });
    await untilPhase(page, "live");
    await store(stack, "notes/~n1", { at: { id: 1 }, by: "~n1" });
    await until(
      "the first document comes",
      () => rows(page),
      (all) => all.length === 1,
    );
    for (const key of ["1", "card::1", "~n2"]) await store(stack, `notes/${key}`, { at: { id: 1 }, by: key });
    await store(stack, "notes/none", { by: "none" });
    await store(stack, "notes/last", { at: { id: "last" } });
    await until(
      "what follows them comes",
      () => rows(page),
      (all) => all.some(([key]) => key === "last"),
    );
    assert.deepEqual(await rows(page), [
      [1, { at: { id: 1 }, by: "~n1" }],
      ["last", { at: { id: "last" } }],
    ]);
    const quarantined = await until(
      "they are reported",
      () => page.evaluate(() => driver.status.quarantined),
      (all) => all.length === 4,
    );
    assert.deepEqual(quarantined.map(({ key }) => key).sort(), ["1", "card::1", "none", "~n2"]);
    await page.evaluate(() => driver.run([{ ops: [["put", "notes", { at: { id: 1 }, by: "page" }]] }]));
    await flushed(page);
    const state = await stack.state("notes");
    assert.deepEqual(Object.keys(state).sort(), ["1", "card::1", "last", "none", "~n1", "~n2"]);
    assert.deepEqual(state["~n1"], { at: { id: 1 }, by: "page" });
    await store(stack, "notes/card::1", { at: { id: "card::1" }, by: "corrected" });
    await until(
      "a corrected one comes",
      () => rows(page),
      (all) => all.some(([key]) => key === "card::1"),
    );
  });
});

void test(
  "keys of several members and of the value itself are compared like those of one",
  { timeout: 60_000 },
  async () => {
    await withStack({}, async (stack) => {
      const page = await stack.client({
        stores: [
          { name: "notes", keyPath: ["a", "b"] },
          { name: "texts", keyPath: "" },
        ],
      });
      await page.evaluate(() =>
        driver.run([
          {
            ops: [
              ["put", "notes", { a: 1, b: new Date(5) }],
              ["put", "texts", "plain"],
            ],
          },
        ]),
      );
      await flushed(page);
      const other = await stack.client({
        stores: [
          { name: "notes", keyPath: ["a", "b"] },
          { name: "texts", keyPath: "" },
        ],
        user: "bob",
      });
      await flushed(other);
      assert.deepEqual(
        await other.evaluate(() => driver.describe("notes")),
        await page.evaluate(() => driver.describe("notes")),
      );
      assert.deepEqual(await other.evaluate(() => driver.dump("texts")), [["plain", "plain"]]);
      assert.deepEqual(await other.evaluate(() => driver.status.quarantined), []);
    });
  },
);

void test("a range bound with a lone surrogate deletes its rows everywhere", { timeout: 60_000 }, async () => {
  await withStack({}, async (stack) => {
    const page = await stack.client({ stores: [{ name: "notes" }] });
    await page.evaluate(() => driver.run([{ ops: ["a", "b", "c"].map((key) => ["put", "notes", { key }, key]) }]));
    await flushed(page);
    await page.evaluate(() => driver.run([{ ops: [["range", "notes", "a\ud800", "b\ud800"]] }]));
    await flushed(page);
    assert.deepEqual(Object.keys(await stack.state("notes")), ["a", "c"]);
    await page.reload();
    await page.evaluate(() => driver.open({ stores: [{ name: "notes" }] }));
    await page.evaluate(() => driver.run([{ ops: [["put", "notes", { key: "d" }, "d"]] }]));
    await flushed(page);
    assert.deepEqual(Object.keys(await stack.state("notes")), ["a", "c", "d"]);
    assert.deepEqual(await page.evaluate(() => driver.heard.errors), []);
  });
});
