/** A browser and Java change the same documents at the same time: what becomes of them, and what the conflict log says. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Page } from "playwright-core";
import type { Op, OpenSpec } from "../browser/pages/sync-driver.ts";
import { flushed, until, untilPhase } from "../browser/stack.ts";
import { onGeode } from "./cluster.ts";
import type { CollectionSpec, Java, OnGeode } from "./cluster.ts";

const policy = (name: string): string => `conflict = { policy = "${name}" }`;

const COLLECTIONS = {
  docs: {
    region: "suite1",
    config: `[databases.app.collections.docs.conflict.fields]
votes = "sum"
labels = "union"
text = "text"
list = { list = "id" }
low = "min"
high = "max"
last = "last-write"
first = "first-write"
newest = "newest"
fixed = "reject"`,
  },
  last: { region: "suite2", config: policy("last-write") },
  first: { region: "suite3", config: policy("first-write") },
  newest: { region: "suite4", config: policy("newest") },
  refusing: { region: "suite5", config: policy("reject") },
  asking: { region: "people", config: policy("resolver") },
  strict: { region: "docs", config: `conflict = { delete = "delete-wins" }` },
} as const satisfies Record<string, CollectionSpec>;

type Name = keyof typeof COLLECTIONS;

const NAMES = Object.keys(COLLECTIONS) as Name[];
const SPEC: OpenSpec = { stores: NAMES.map((name) => ({ name })), resolver: "join" };

const BASE = {
  a: 0,
  b: 0,
  votes: 10,
  labels: ["x", "y"],
  text: "one\ntwo\nthree\n",
  list: [
    { id: 1, n: 1 },
    { id: 2, n: 2 },
  ],
  low: 5,
  high: 5,
  last: "base",
  first: "base",
  newest: "base",
};
const JAVAS = {
  ...BASE,
  a: 1,
  votes: 12,
  labels: ["x", "y", "z"],
  text: "ONE\ntwo\nthree\n",
  list: [
    { id: 1, n: 11 },
    { id: 2, n: 2 },
  ],
  low: 3,
  high: 7,
  last: "java",
  first: "java",
  newest: "java",
};
const BROWSERS = {
  ...BASE,
  b: 1,
  votes: 11,
  labels: ["x"],
  text: "one\ntwo\nTHREE\n",
  list: [
    { id: 1, n: 1 },
    { id: 2, n: 2 },
    { id: 3, n: 3 },
  ],
  low: 4,
  high: 9,
  last: "browser",
  first: "browser",
  newest: "browser",
};
const MERGED = {
  a: 1,
  b: 1,
  votes: 13,
  labels: ["x", "z"],
  text: "ONE\ntwo\nTHREE\n",
  list: [
    { id: 1, n: 11 },
    { id: 2, n: 2 },
    { id: 3, n: 3 },
  ],
  low: 3,
  high: 9,
  last: "browser",
  first: "java",
};

/** One document that both change. */
interface Case {
  readonly store: Name;
  readonly key: string;
  readonly base: object;
  /** `null` deletes. */
  readonly java: object | null;
  readonly browser: object | null;
  /** Who is first. */
  readonly order: "java" | "browser";
  readonly becomes: object | null;
}

const small = (store: Name, key: string, order: Case["order"], becomes: object | null): Case => ({
  store,
  key,
  base: { v: "base", same: 1 },
  java: { v: "java", same: 1 },
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
    java: JAVAS,
    browser: BROWSERS,
    order: "java",
    becomes: { ...MERGED, newest: "browser" },
  },
  {
    store: "docs",
    key: "fields, Java later",
    base: BASE,
    java: JAVAS,
    browser: BROWSERS,
    order: "browser",
    becomes: { ...MERGED, newest: "java" },
  },
  small("last", "x", "browser", wins("browser")),
  small("first", "x", "java", wins("java")),
  small("newest", "browser later", "java", wins("browser")),
  small("newest", "Java later", "browser", wins("java")),
  small("refusing", "x", "java", wins("java")),
  {
    ...small("asking", "x", "java", null),
    base: { text: "base" },
    java: { text: "java" },
    browser: { text: "browser" },
    becomes: { text: "browser|java" },
  },
  { ...small("docs", "edit against delete", "java", wins("browser")), java: null },
  { ...small("docs", "delete against edit", "java", wins("java")), browser: null },
  { ...small("strict", "edit against delete", "java", null), java: null },
  { ...small("strict", "delete against edit", "java", null), browser: null },
];

async function write(page: Page, ops: readonly Op[]): Promise<void> {
  const outcomes = await page.evaluate(
    (given) => driver.run((JSON.parse(given) as Op[]).map((op) => ({ ops: [op] }))),
    JSON.stringify(ops),
  );
  assert.ok(
    outcomes.every((failure) => failure === null),
    String(outcomes),
  );
}

async function byJava(java: Java, { store, key, java: document }: Case): Promise<void> {
  const { region } = COLLECTIONS[store];
  if (document === null) await java.run("destroy", region, key);
  else await java.put(region, key, document);
}

async function byBrowser(page: Page, { store, key, browser }: Case): Promise<void> {
  await write(page, [browser === null ? ["delete", store, key] : ["put", store, browser, key]]);
}

/** Waits until the page holds of every store what Java reads under these keys. */
async function meet({ java }: OnGeode, page: Page, keys: readonly (readonly [Name, string])[]): Promise<void> {
  for (const [store, key] of keys) {
    await until(
      `${store}/${key} is the same on both sides`,
      async () => {
        const rows = new Map(await page.evaluate((name) => driver.dump(name), store));
        return [rows.get(key) ?? null, await java.get(COLLECTIONS[store].region, key)];
      },
      ([row, document]) => canonical(row) === canonical(document),
    );
  }
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_, member: unknown) =>
    typeof member === "object" && member !== null && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).sort())
      : member,
  );
}

async function offline(page: Page): Promise<void> {
  await page.evaluate(() => driver.offline());
  await untilPhase(page, "offline");
}

async function online(page: Page): Promise<void> {
  await page.evaluate(() => driver.online());
  await flushed(page);
}

/** Edits of both sides must not have the same time. */
async function later(): Promise<void> {
  const now = Date.now();
  await until(
    "the clock has moved",
    () => Date.now(),
    (time) => time > now + 1,
  );
}

void test("every policy decides between an offline browser and Java", { timeout: 180_000 }, async () => {
  await onGeode(COLLECTIONS, async (given) => {
    const { stack, java } = given;
    const page = await stack.client(SPEC);
    await write(
      page,
      CASES.map(({ store, key, base }) => ["put", store, base, key]),
    );
    await flushed(page);
    await offline(page);
    for (const one of CASES.filter(({ order }) => order === "browser")) await byBrowser(page, one);
    await later();
    for (const one of CASES) await byJava(java, one);
    // The server dates what Java wrote when it hears of it.
    for (const { store, key, java: document } of CASES)
      await until(
        `the server has heard of ${store}/${key}`,
        () => stack.state(store),
        (state) => canonical(state[key] ?? null) === canonical(document),
      );
    await later();
    for (const one of CASES.filter(({ order }) => order === "java")) await byBrowser(page, one);
    await online(page);
    for (const { store, key, becomes } of CASES)
      await until(
        `${store}/${key} has become ${canonical(becomes)}`,
        () => java.get(COLLECTIONS[store].region, key),
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

/** What each side lost is in the log, on the server and in the browser. */
async function checkLog({ stack }: OnGeode, page: Page): Promise<void> {
  const entries = await page.evaluate(() => driver.conflicts());
  const of = (store: Name, key: string, path: string): unknown[] | undefined => {
    const entry = entries.find((one) => one.store === store && one.key === key && one.path.join(".") === path);
    return entry && [entry.strategy, entry.base, entry.mine, entry.theirs, entry.outcome, entry.by];
  };
  const fields = "fields, browser later";
  assert.deepEqual(of("docs", fields, "last"), ["last-write", "base", "browser", "java", "browser", "ann"]);
  assert.deepEqual(of("docs", fields, "first"), ["first-write", "base", "browser", "java", "java", "ann"]);
  assert.deepEqual(of("docs", fields, "newest"), ["newest", "base", "browser", "java", "browser", "ann"]);
  assert.deepEqual(of("docs", "fields, Java later", "newest"), ["newest", "base", "browser", "java", "java", "ann"]);
  assert.equal(of("docs", fields, "votes"), undefined, "nothing is lost in a sum");
  assert.equal(of("docs", fields, "a"), undefined, "nor in fields that one side changed");
  assert.deepEqual(of("strict", "edit against delete", "v")?.slice(2, 5), ["browser", undefined, undefined]);
  for (const [store, key] of [
    ["last", "x"],
    ["first", "x"],
    ["newest", "browser later"],
    ["newest", "Java later"],
  ])
    assert.ok(
      entries.some((entry) => entry.store === store && entry.key === key),
      `${store}/${key}: ${JSON.stringify(entries)}`,
    );
  const response = await stack.rest("GET", "app/conflicts?limit=100");
  const { conflicts } = (await response.json()) as { conflicts: { path: string[]; theirs: unknown }[] };
  assert.ok(conflicts.some(({ path, theirs }) => path.join() === "last" && theirs === "java"));
}

void test("a field that must not be merged gives the edit back", { timeout: 120_000 }, async () => {
  await onGeode(COLLECTIONS, async (given) => {
    const { stack, java } = given;
    const page = await stack.client(SPEC);
    await write(page, [["put", "docs", { fixed: 0, free: 0 }, "x"]]);
    await flushed(page);
    await offline(page);
    await write(page, [["put", "docs", { fixed: 1, free: 1 }, "x"]]);
    await java.put("suite1", "x", { fixed: 2, free: 0 });
    await online(page);
    assert.deepEqual(await java.get("suite1", "x"), { fixed: 2, free: 0 });
    await meet(given, page, [["docs", "x"]]);
    assert.equal((await page.evaluate(() => driver.rejected()))[0]?.code, "conflict");
  });
});

void test("many edits of an offline browser and of Java meet", { timeout: 180_000 }, async () => {
  await onGeode(COLLECTIONS, async (given) => {
    const { stack, java } = given;
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
      const [ours, javas] = [number % 3, Math.floor(number / 3) % 3];
      if (ours === 1) await write(page, [["put", "docs", { a: 0, b: 1, number }, key(number)]]);
      if (ours === 2) await write(page, [["delete", "docs", key(number)]]);
      if (javas === 1) await java.put("suite1", key(number), { a: 1, b: 0, number });
      if (javas === 2) await java.run("destroy", "suite1", key(number));
    }
    await write(page, [["put", "docs", { a: 0, b: 9 }, "new of the browser"]]);
    await java.put("suite1", "new of Java", { a: 9, b: 0 });
    await online(page);
    const expected = numbers.map((number): readonly [string, object | null] => {
      const [ours, javas] = [number % 3, Math.floor(number / 3) % 3];
      // An edit wins over a delete.
      const isGone = ours === 2 ? javas !== 1 : ours !== 1 && javas === 2;
      const edited = { a: javas === 1 ? 1 : 0, b: ours === 1 ? 1 : 0, number };
      return [key(number), isGone ? null : edited];
    });
    for (const [name, document] of [
      ...expected,
      ["new of the browser", { a: 0, b: 9 }],
      ["new of Java", { a: 9, b: 0 }],
    ] as const)
      await until(
        `${name} has become ${canonical(document)}`,
        () => java.get("suite1", name),
        (found) => canonical(found) === canonical(document),
      );
    await meet(
      given,
      page,
      expected.map(([name]) => ["docs", name]),
    );
  });
});
