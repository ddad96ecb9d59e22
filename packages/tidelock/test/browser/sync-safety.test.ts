/** What befalls either side from outside: a restored backup, a restored profile, rows that cannot be applied, a new schema. */
import assert from "node:assert/strict";
import { cp, rm } from "node:fs/promises";
import { test } from "node:test";
import type { Page } from "playwright-core";
import type { OpenSpec } from "./pages/sync-driver.ts";
import { flushed, until, withStack } from "./stack.ts";

const SPEC: OpenSpec = { stores: [{ name: "notes", keyPath: "id" }] };

function put(page: Page, row: { readonly id: string; readonly [member: string]: unknown }): Promise<unknown> {
  return page.evaluate((value) => driver.run([{ ops: [["put", "notes", value]] }]), row);
}

async function keys(page: Page, store = "notes"): Promise<unknown[]> {
  return (await page.evaluate((name) => driver.dump(name), store)).map(([key]) => key);
}

void test(
  "a server whose backup is restored gets back what it acknowledged after it",
  { timeout: 90_000 },
  async () => {
    await withStack({}, async (stack) => {
      const [writer, reader] = [await stack.client(SPEC), await stack.client({ ...SPEC, user: "bob" })];
      await put(writer, { id: "before" });
      await flushed(writer);
      await stack.stopServer();
      const backup = `${stack.data}-backup`;
      await cp(stack.data, backup, { recursive: true });
      await stack.startServer();
      await put(writer, { id: "after", n: 1 });
      await put(writer, { id: "before", n: 2 });
      await flushed(writer);
      await until(
        "the reader has it too",
        () => keys(reader),
        (all) => all.length === 2,
      );
      await stack.stopServer();
      await rm(stack.data, { recursive: true });
      await cp(backup, stack.data, { recursive: true });
      // Another server, as far as the writer can tell, that never heard of the last writes.
      await stack.startServer();
      const expected = { after: { id: "after", n: 1 }, before: { id: "before", n: 2 } };
      await until(
        "what was acknowledged is back",
        () => stack.state("notes"),
        (state) => JSON.stringify(state) === JSON.stringify(expected),
      );
      for (const page of [writer, reader]) {
        await put(page, { id: `from-${page === writer ? "writer" : "reader"}` });
        await flushed(page);
      }
      const all = ["after", "before", "from-reader", "from-writer"];
      for (const page of [writer, reader])
        await until(
          "both go on",
          () => keys(page),
          (found) => found.join() === all.join(),
        );
      for (const page of [writer, reader]) assert.deepEqual(await page.evaluate(() => driver.rejected()), []);
    });
  },
);

void test("a browser's profile that is set back loses nothing of either time", { timeout: 90_000 }, async () => {
  await withStack({}, async (stack) => {
    const profile = await stack.profile();
    /** Opens the profile, writes the rows, and closes the browser when the server has confirmed them. */
    const visit = async (...ids: string[]): Promise<unknown[]> => {
      const browser = await stack.browser(profile);
      const page = await stack.page(browser, SPEC);
      for (const id of ids) await put(page, { id, by: ids.join() });
      await flushed(page);
      const found = await keys(page);
      await browser.close();
      return found;
    };
    await visit("a", "b");
    const backup = await stack.profile();
    await cp(profile, backup, { recursive: true });
    await visit("c", "d");
    await rm(profile, { recursive: true });
    await cp(backup, profile, { recursive: true });
    // The profile counts its mutations on from where it was: under numbers that the server has seen.
    await visit("e", "f");
    assert.deepEqual(Object.keys(await stack.state("notes")), ["a", "b", "c", "d", "e", "f"]);
    const other = await stack.client({ ...SPEC, user: "bob" });
    await until(
      "another browser has all of it",
      () => keys(other),
      (all) => all.length === 6,
    );
    assert.deepEqual(await visit(), ["a", "b", "c", "d", "e", "f"]);
  });
});

void test("a row that an index refuses is reported, and comes when it can", { timeout: 60_000 }, async () => {
  await withStack({}, async (stack) => {
    const strict = await stack.client({ stores: [{ name: "notes", keyPath: "id", unique: "name" }] });
    const loose = await stack.client({ ...SPEC, user: "bob" });
    await put(strict, { id: "a", name: "one" });
    await flushed(strict);
    await put(loose, { id: "b", name: "one" });
    await put(loose, { id: "c", name: "three" });
    const refused = await until(
      "the row is reported",
      () => strict.evaluate(() => driver.status.quarantined),
      (rows) => rows.length > 0,
    );
    assert.deepEqual(
      refused.map(({ store, key }) => [store, key]),
      [["notes", "b"]],
    );
    await until(
      "rows after it are not held up",
      () => keys(strict),
      (all) => all.join() === "a,c",
    );
    await put(loose, { id: "b", name: "two" });
    await until(
      "it comes when it can",
      () => keys(strict),
      (all) => all.join() === "a,b,c",
    );
    assert.deepEqual(await strict.evaluate(() => driver.status.quarantined), []);
    assert.deepEqual(Object.keys(await stack.state("notes")), ["a", "b", "c"], "it was never taken for a delete");
    await loose.evaluate(() =>
      driver.run([
        {
          ops: [
            ["put", "notes", { id: "a", name: "two" }],
            ["put", "notes", { id: "b", name: "one" }],
          ],
        },
      ]),
    );
    await until(
      "two rows that exchange their names are both taken",
      () => strict.evaluate(async () => (await driver.dump("notes")).map(([, row]) => (row as { name: string }).name)),
      (names) => names.join() === "two,one,three",
    );
    assert.deepEqual(await strict.evaluate(() => driver.status.quarantined), []);
  });
});

void test("the application changes its schema while writes are unsent", { timeout: 60_000 }, async () => {
  await withStack({}, async (stack) => {
    const page = await stack.client({ ...SPEC, offline: true });
    await put(page, { id: "a" });
    await put(page, { id: "b" });
    await page.reload();
    const next: OpenSpec = { version: 2, stores: [...SPEC.stores, { name: "tags" }] };
    await page.evaluate((spec) => driver.open(spec), next);
    await page.evaluate(() => driver.run([{ ops: [["put", "tags", 1, "t"]] }]));
    await flushed(page);
    assert.deepEqual(Object.keys(await stack.state("notes")), ["a", "b"]);
    assert.deepEqual(await stack.state("tags"), { t: 1 });
  });
});
