/** A browser and another application of the platform change the same documents at the same time: what becomes of them, and what the conflict log says. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Page } from "playwright-core";
import type { Op, OpenSpec } from "../browser/pages/sync-driver.ts";
import { flushed, until, untilPhase } from "../browser/stack.ts";
import { BASE, canonical, FIELDS, later, merged, oneEdit, otherEdit, write } from "../browser/strategies.ts";
import type { Application, Given, On } from "./given.ts";

const policy = (name: string): string => `conflict = { policy = "${name}" }`;

/** Collections, and lines of their configuration. */
const COLLECTIONS = {
  docs: `[databases.app.collections.docs.conflict.fields]
${FIELDS}
fixed = "reject"`,
  last: policy("last-write"),
  first: policy("first-write"),
  newest: policy("newest"),
  refusing: policy("reject"),
  asking: policy("resolver"),
  strict: `conflict = { delete = "delete-wins" }`,
} as const;

type Name = keyof typeof COLLECTIONS;

const NAMES = Object.keys(COLLECTIONS) as Name[];
const SPEC: OpenSpec = { stores: NAMES.map((name) => ({ name })), resolver: "join" };

/** One document that both change. */
interface Case {
  readonly store: Name;
  readonly key: string;
  readonly base: object;
  /** `null` deletes. */
  readonly other: object | null;
  readonly browser: object | null;
  /** Who is first. */
  readonly order: "other" | "browser";
  readonly becomes: object | null;
}

const small = (store: Name, key: string, order: Case["order"], becomes: object | null): Case => ({
  store,
  key,
  base: { v: "base", same: 1 },
  other: { v: "other", same: 1 },
  browser: { v: "browser", same: 1 },
  order,
  becomes,
});
const wins = (who: string): object => ({ v: who, same: 1 });

const CASES: readonly Case[] = [
  {
    store: "docs",
    key: "fields, browser later",
    base: BASE,
    other: oneEdit("other"),
    browser: otherEdit("browser"),
    order: "other",
    becomes: merged("other", "browser", "browser"),
  },
  {
    store: "docs",
    key: "fields, other later",
    base: BASE,
    other: oneEdit("other"),
    browser: otherEdit("browser"),
    order: "browser",
    becomes: merged("other", "browser", "other"),
  },
  small("last", "x", "browser", wins("browser")),
  small("first", "x", "other", wins("other")),
  small("newest", "browser later", "other", wins("browser")),
  small("newest", "other later", "browser", wins("other")),
  small("refusing", "x", "other", wins("other")),
  {
    ...small("asking", "x", "other", null),
    base: { text: "base" },
    other: { text: "other" },
    browser: { text: "browser" },
    becomes: { text: "browser|other" },
  },
  { ...small("docs", "edit against delete", "other", wins("browser")), other: null },
  { ...small("docs", "delete against edit", "other", wins("other")), browser: null },
  { ...small("strict", "edit against delete", "other", null), other: null },
  { ...small("strict", "delete against edit", "other", null), browser: null },
];

async function byOther(application: Application, { store, key, other: document }: Case): Promise<void> {
  if (document === null) await application.remove(store, key);
  else await application.put(store, key, document);
}

async function byBrowser(page: Page, { store, key, browser }: Case): Promise<void> {
  await write(page, [browser === null ? ["delete", store, key] : ["put", store, browser, key]]);
}

/** Waits until the page holds of every store what the application reads under these keys. */
async function meet({ application }: Given, page: Page, keys: readonly (readonly [Name, string])[]): Promise<void> {
  for (const [store, key] of keys) {
    await until(
      `${store}/${key} is the same on both sides`,
      async () => {
        const rows = new Map(await page.evaluate((name) => driver.dump(name), store));
        return [rows.get(key) ?? null, await application.get(store, key)];
      },
      ([row, document]) => canonical(row) === canonical(document),
    );
  }
}

async function offline(page: Page): Promise<void> {
  await page.evaluate(() => driver.offline());
  await untilPhase(page, "offline");
}

async function online(page: Page): Promise<void> {
  await page.evaluate(() => driver.online());
  await flushed(page);
}

/** What each side lost is in the log, on the server and in the browser. */
async function checkLog({ stack }: Given, page: Page): Promise<void> {
  const entries = await page.evaluate(() => driver.conflicts());
  const of = (store: Name, key: string, path: string): unknown[] | undefined => {
    const entry = entries.find((one) => one.store === store && one.key === key && one.path.join(".") === path);
    return entry && [entry.strategy, entry.base, entry.mine, entry.theirs, entry.outcome, entry.by];
  };
  const fields = "fields, browser later";
  assert.deepEqual(of("docs", fields, "last"), ["last-write", "base", "browser", "other", "browser", "ann"]);
  assert.deepEqual(of("docs", fields, "first"), ["first-write", "base", "browser", "other", "other", "ann"]);
  assert.deepEqual(of("docs", fields, "newest"), ["newest", "base", "browser", "other", "browser", "ann"]);
  assert.deepEqual(of("docs", "fields, other later", "newest"), ["newest", "base", "browser", "other", "other", "ann"]);
  assert.equal(of("docs", fields, "votes"), undefined, "nothing is lost in a sum");
  assert.equal(of("docs", fields, "a"), undefined, "nor in fields that one side changed");
  assert.deepEqual(of("strict", "edit against delete", "v")?.slice(2, 5), ["browser", undefined, undefined]);
  for (const [store, key] of [
    ["last", "x"],
    ["first", "x"],
    ["newest", "browser later"],
    ["newest", "other later"],
  ])
    assert.ok(
      entries.some((entry) => entry.store === store && entry.key === key),
      `${store}/${key}: ${JSON.stringify(entries)}`,
    );
  const response = await stack.rest("GET", "app/conflicts?limit=100");
  const { conflicts } = (await response.json()) as { conflicts: { path: string[]; theirs: unknown }[] };
  assert.ok(conflicts.some(({ path, theirs }) => path.join() === "last" && theirs === "other"));
}

/** The tests, with what a test has on one platform. */
export function conflicts(on: On): void {
  void test("every policy decides between an offline browser and the application", { timeout: 180_000 }, async () => {
    await on(COLLECTIONS, async (given) => {
      const { stack, application } = given;
      const page = await stack.client(SPEC);
      await write(
        page,
        CASES.map(({ store, key, base }) => ["put", store, base, key]),
      );
      await flushed(page);
      await offline(page);
      for (const one of CASES.filter(({ order }) => order === "browser")) await byBrowser(page, one);
      await later();
      for (const one of CASES) await byOther(application, one);
      // The server dates what the application wrote when it hears of it.
      for (const { store, key, other: document } of CASES)
        await until(
          `the server has heard of ${store}/${key}`,
          () => stack.state(store),
          (state) => canonical(state[key] ?? null) === canonical(document),
        );
      await later();
      for (const one of CASES.filter(({ order }) => order === "other")) await byBrowser(page, one);
      await online(page);
      for (const { store, key, becomes } of CASES)
        await until(
          `${store}/${key} has become ${canonical(becomes)}`,
          () => application.get(store, key),
          (document) => canonical(document) === canonical(becomes),
        );
      await meet(
        given,
        page,
        CASES.map(({ store, key }) => [store, key]),
      );
      const [rejected, ...more] = await page.evaluate(() => driver.rejected());
      assert.equal(rejected?.code, "conflict");
      assert.deepEqual(rejected.documents, [{ store: "refusing", key: "x", mine: wins("browser") }]);
      assert.deepEqual(more, []);
      assert.deepEqual(await page.evaluate(() => driver.heard.errors), []);
      await checkLog(given, page);
    });
  });

  void test("a field that must not be merged gives the edit back", { timeout: 120_000 }, async () => {
    await on(COLLECTIONS, async (given) => {
      const { stack, application } = given;
      const page = await stack.client(SPEC);
      await write(page, [["put", "docs", { fixed: 0, free: 0 }, "x"]]);
      await flushed(page);
      await offline(page);
      await write(page, [["put", "docs", { fixed: 1, free: 1 }, "x"]]);
      await application.put("docs", "x", { fixed: 2, free: 0 });
      await online(page);
      assert.deepEqual(await application.get("docs", "x"), { fixed: 2, free: 0 });
      await meet(given, page, [["docs", "x"]]);
      assert.equal((await page.evaluate(() => driver.rejected()))[0]?.code, "conflict");
    });
  });

  void test("many edits of an offline browser and of the application meet", { timeout: 180_000 }, async () => {
    await on(COLLECTIONS, async (given) => {
      const { stack, application } = given;
      const page = await stack.client(SPEC);
      const numbers = Array.from({ length: 60 }, (_, number) => number);
      const key = (number: number): string => `many-${number}`;
      await write(
        page,
        numbers.map((number): Op => ["put", "docs", { a: 0, b: 0, number }, key(number)]),
      );
      await flushed(page);
      await offline(page);
      // Every pair of: nothing, an edit of another field, a delete; and new documents of both sides under other keys.
      for (const number of numbers) {
        const [ours, others] = [number % 3, Math.floor(number / 3) % 3];
        if (ours === 1) await write(page, [["put", "docs", { a: 0, b: 1, number }, key(number)]]);
        if (ours === 2) await write(page, [["delete", "docs", key(number)]]);
        if (others === 1) await application.put("docs", key(number), { a: 1, b: 0, number });
        if (others === 2) await application.remove("docs", key(number));
      }
      await write(page, [["put", "docs", { a: 0, b: 9 }, "new of the browser"]]);
      await application.put("docs", "new of the other", { a: 9, b: 0 });
      await online(page);
      const expected = numbers.map((number): readonly [string, object | null] => {
        const [ours, others] = [number % 3, Math.floor(number / 3) % 3];
        // An edit wins over a delete.
        const isGone = ours === 2 ? others !== 1 : ours !== 1 && others === 2;
        const edited = { a: others === 1 ? 1 : 0, b: ours === 1 ? 1 : 0, number };
        return [key(number), isGone ? null : edited];
      });
      for (const [name, document] of [
        ...expected,
        ["new of the browser", { a: 0, b: 9 }],
        ["new of the other", { a: 9, b: 0 }],
      ] as const)
        await until(
          `${name} has become ${canonical(document)}`,
          () => application.get("docs", name),
          (found) => canonical(found) === canonical(document),
        );
      await meet(
        given,
        page,
        expected.map(([name]) => ["docs", name]),
      );
    });
  });
}
