/** Several documents at once, and many writers of one: nothing is torn, no update is lost. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Page } from "playwright-core";
import { flushed, until, untilPhase } from "../browser/stack.ts";
import { count, counting, haveCounted, INCREMENTS, SUMS } from "../platform/counters.ts";
import { onGeode } from "./cluster.ts";
import type { Java } from "./cluster.ts";

/** Of different numbers of buckets, so that their primary copies lie differently. */
const PAIRS = { left: { region: "docs" }, right: { region: "suite1" } } as const;
const SPEC = { stores: [{ name: "left" }, { name: "right" }] } as const;
/** Transactions of each kind. */
const TRANSACTIONS = 40;

const COUNTERS = { counters: { region: "suite3", config: SUMS } } as const;

/** Two keys under which the entries of both regions are on one member, and on two. */
async function keys(java: Java): Promise<{ one: string; two: string }> {
  const found: { one?: string; two?: string } = {};
  for (let number = 0; number < 100; number++) {
    const key = `pair-${number}`;
    const isOne = (await java.run("together", "docs", key, "suite1", key)) === "true";
    if (isOne) found.one ??= key;
    else found.two ??= key;
    const { one, two } = found;
    if (one !== undefined && two !== undefined) return { one, two };
  }
  throw new Error("100 keys are all on one member, or all on two");
}

void test("transactions are whole on both sides, on one member and on two", { timeout: 180_000 }, async () => {
  await onGeode(PAIRS, async ({ stack, java }) => {
    const { one, two } = await keys(java);
    const writer = await stack.client(SPEC);
    const reader = await stack.client({ ...SPEC, user: "bob" });
    for (const page of [writer, reader]) await untilPhase(page, "live");
    await reader.evaluate(() => driver.watchPairs("left", "right"));
    for (let n = 0; n < TRANSACTIONS; n++) {
      for (const key of [one, two]) {
        const outcome = await writer.evaluate(
          ([name, count]) =>
            driver.run([
              {
                ops: [
                  ["put", "left", { n: count }, name],
                  ["put", "right", { n: count }, name],
                ],
              },
            ]),
          [key, n] as const,
        );
        assert.deepEqual(outcome, [null]);
        if (n % 4 !== 0) continue;
        // What is confirmed, Java reads whole.
        await flushed(writer);
        for (const { region } of Object.values(PAIRS)) assert.deepEqual(await java.get(region, key), { n }, region);
      }
    }
    await flushed(writer);
    const rows = (page: Page, store: string): Promise<Record<string, unknown>> =>
      page.evaluate((name) => driver.dump(name), store).then((all) => Object.fromEntries(all));
    const holds = async (key: string, n: number): Promise<void> => {
      for (const page of [writer, reader])
        for (const store of ["left", "right"])
          await until(
            `${store}/${key} is ${n}`,
            () => rows(page, store),
            (all) => JSON.stringify(all[key]) === JSON.stringify({ n }),
          );
    };
    for (const key of [one, two]) await holds(key, TRANSACTIONS - 1);
    assert.deepEqual(await reader.evaluate(() => driver.torn), [], "no reader of ours sees a part");

    const document = JSON.stringify({ n: 1000 });
    await java.run("put-together", "docs", one, document, "suite1", one, document);
    await holds(one, 1000);
  });
});

void test("10,000 increments of browsers and Java add up", { timeout: 600_000 }, async () => {
  await onGeode(COUNTERS, async ({ stack, java }) => {
    await java.put("suite3", "counter", { both: 0, browsers: 0, java: 0 });
    const pages = await counting(stack);
    const javas = java.run("increment-by-replace", "suite3", "counter", "both,java", "2", String(INCREMENTS));
    const started = Date.now();
    await count(pages);
    const lost = await javas;
    const expected = { both: 4 * INCREMENTS, browsers: 2 * INCREMENTS, java: 2 * INCREMENTS };
    assert.deepEqual(await java.get("suite3", "counter"), expected);
    await haveCounted(pages, expected);
    console.log(
      `geode writers: ${4 * INCREMENTS} increments in ${Date.now() - started} ms; Java's replace was too late ${lost} times`,
    );
  });
});
