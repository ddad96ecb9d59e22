/** Two browsers change the same documents while offline: the outcome of every strategy, and where the losing values are. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Page } from "playwright-core";
import type { Op, OpenSpec } from "./pages/sync-driver.ts";
import { flushed, until, untilPhase, withStack } from "./stack.ts";
import type { Stack } from "./stack.ts";
import { BASE, canonical, FIELDS, later, merged, oneEdit, otherEdit, write as writeOnly } from "./strategies.ts";

const OPEN = `read = 'identity.sub != ""'\nwrite = 'identity.sub != ""'`;
const CONFIG = `
[databases.app]
path = "app.db"

[databases.app.collections.docs]
${OPEN}
[databases.app.collections.docs.conflict.fields]
${FIELDS}

[databases.app.collections.strict]
${OPEN}
[databases.app.collections.strict.conflict]
delete = "delete-wins"

[databases.app.collections.refusing]
${OPEN}
[databases.app.collections.refusing.conflict]
policy = "reject"

[databases.app.collections.asking]
${OPEN}
[databases.app.collections.asking.conflict]
policy = "resolver"
`;
const STORES = ["docs", "strict", "refusing", "asking"];
const SPEC: OpenSpec = { stores: STORES.map((name) => ({ name })), resolver: "join" };
interface Pair {
  readonly stack: Stack;
  readonly a: Page;
  readonly b: Page;
}

/** Two browsers with the same rows, both offline. */
async function withPair(rows: readonly Op[], body: (pair: Pair) => Promise<void>): Promise<void> {
  await withStack({ config: CONFIG }, async (stack) => {
    const a = await stack.client(SPEC);
    await write(a, rows);
    await flushed(a);
    const b = await stack.client({ ...SPEC, user: "bob" });
    await flushed(b);
    for (const page of [a, b]) {
      await page.evaluate(() => driver.offline());
      await untilPhase(page, "offline");
    }
    await body({ stack, a, b });
  });
}

async function write(page: Page, ops: readonly Op[]): Promise<void> {
  await writeOnly(page, ops);
  await later();
}

/** Brings one page online after the other, and waits until both hold what the server holds. */
async function meet({ stack, a, b }: Pair): Promise<void> {
  for (const page of [a, b]) {
    await page.evaluate(() => driver.online());
    await flushed(page);
  }
  for (const store of STORES) {
    const state = await stack.state(store);
    for (const page of [a, b]) {
      const same = (rows: [IDBValidKey, unknown][]): boolean =>
        canonical(Object.fromEntries(rows.map(([key, value]) => [String(key), value]))) === canonical(state);
      await until(
        `${store} converges to ${canonical(state)}`,
        () => page.evaluate((name) => driver.dump(name), store),
        same,
      );
    }
  }
}

void test("every strategy on one field, and disjoint fields", { timeout: 60_000 }, async () => {
  await withPair(
    [
      ["put", "docs", BASE, "late"],
      ["put", "docs", BASE, "early"],
    ],
    async (pair) => {
      // The edit that arrives first was made last, and the other way round.
      await write(pair.a, [["put", "docs", oneEdit("a"), "early"]]);
      await write(pair.b, [
        ["put", "docs", otherEdit("b"), "early"],
        ["put", "docs", otherEdit("b"), "late"],
      ]);
      await write(pair.a, [["put", "docs", oneEdit("a"), "late"]]);
      await meet(pair);
      const state = await pair.stack.state("docs");
      assert.deepEqual(state["early"], merged("a", "b", "b"));
      assert.deepEqual(state["late"], merged("a", "b", "a"));

      const entries = await pair.b.evaluate(() => driver.conflicts());
      const last = entries.find(({ key, path }) => key === "late" && path.join() === "last");
      assert.deepEqual(
        [last?.base, last?.mine, last?.theirs, last?.outcome],
        ["base", "b", "a", "b"],
        JSON.stringify(entries.slice(0, 3)),
      );
      assert.equal(last?.strategy, "last-write");
      const first = entries.find(({ key, path }) => key === "late" && path.join() === "first");
      assert.deepEqual([first?.mine, first?.theirs, first?.outcome], ["b", "a", "a"], "the discarded value is kept");
      assert.ok(Math.abs((last?.at ?? 0) - Date.now()) < 60_000, "the log tells when");
      assert.equal(last?.by, "bob");
      assert.ok((await pair.b.evaluate(() => driver.heard.conflicts)).length > 0, "the page hears of it");
      const response = await pair.stack.rest("GET", "app/conflicts?limit=100");
      const { conflicts } = (await response.json()) as { conflicts: { path: string[]; mine: unknown }[] };
      assert.ok(conflicts.some(({ path, mine }) => path.join() === "first" && mine === "b"));
    },
  );
});

void test("delete against edit", { timeout: 60_000 }, async () => {
  const rows: Op[] = ["docs", "strict"].flatMap((store): Op[] => [
    ["put", store, { n: 0 }, "1"],
    ["put", store, { n: 0 }, "2"],
  ]);
  await withPair(rows, async (pair) => {
    for (const store of ["docs", "strict"]) {
      await write(pair.a, [
        ["delete", store, "1"],
        ["put", store, { n: 2 }, "2"],
      ]);
      await write(pair.b, [
        ["put", store, { n: 1 }, "1"],
        ["delete", store, "2"],
      ]);
    }
    await meet(pair);
    assert.deepEqual(await pair.stack.state("docs"), { 1: { n: 1 }, 2: { n: 2 } }, "edit-wins");
    assert.deepEqual(await pair.stack.state("strict"), {}, "delete-wins");
    const entries = await pair.b.evaluate(() => driver.conflicts());
    const lost = entries.find(({ store, key }) => store === "strict" && key === "1");
    // Only the changed member was sent.
    assert.deepEqual(
      [lost?.path, lost?.base, lost?.mine, lost?.outcome],
      [["n"], 0, 1, undefined],
      "the lost edit is kept",
    );
  });
});

void test("policy reject gives the later edit back to the user", { timeout: 60_000 }, async () => {
  await withPair([["put", "refusing", { n: 0 }, "1"]], async (pair) => {
    await write(pair.a, [["put", "refusing", { n: 1 }, "1"]]);
    await write(pair.b, [
      ["put", "refusing", { n: 2 }, "1"],
      ["put", "docs", { other: true }, "x"],
    ]);
    await meet(pair);
    assert.deepEqual(await pair.stack.state("refusing"), { 1: { n: 1 } });
    assert.deepEqual(await pair.stack.state("docs"), { x: { other: true } });
    const [entry, ...more] = await pair.b.evaluate(() => driver.rejected());
    assert.deepEqual(more, []);
    assert.equal(entry?.code, "conflict");
    assert.deepEqual(entry.documents, [{ store: "refusing", key: "1", mine: { n: 2 } }]);
  });
});

void test("policy resolver asks the application", { timeout: 60_000 }, async () => {
  await withPair([["put", "asking", { text: "base" }, "1"]], async (pair) => {
    await write(pair.a, [["put", "asking", { text: "mine" }, "1"]]);
    await write(pair.b, [["put", "asking", { text: "theirs" }, "1"]]);
    for (const page of [pair.a, pair.b]) {
      await page.evaluate(() => driver.online());
      await flushed(page);
    }
    await until(
      "the resolver's outcome is on the server",
      () => pair.stack.state("asking"),
      (state) => (state["1"] as { text: string }).text === "mine|theirs",
    );
    await meet(pair);
    assert.deepEqual(await pair.b.evaluate(() => driver.rejected()), []);
    assert.deepEqual(await pair.b.evaluate(() => driver.heard.errors), []);
  });
});
