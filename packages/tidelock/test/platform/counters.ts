/** Browsers that count beside another application. */
import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import type { Stack } from "../browser/stack.ts";
import { flushed, until, untilPhase } from "../browser/stack.ts";

/** Increments by each of two browsers; other applications make as many as both. */
export const INCREMENTS = 2_500;
/** How the conflict policy has the members that browsers change. */
export const SUMS = `conflict = { fields = { both = "sum", browsers = "sum" } }`;

/** Two browsers that hold the collection `counters`. */
export async function counting(stack: Stack): Promise<Page[]> {
  const pages: Page[] = [];
  for (const user of ["ann", "bob"]) {
    const page = await stack.client({ stores: [{ name: "counters" }], user });
    await untilPhase(page, "live");
    pages.push(page);
  }
  return pages;
}

/** Each browser adds one to `both` and `browsers` of the document `counter`, `INCREMENTS` times, until all is confirmed. */
export async function count(pages: readonly Page[]): Promise<void> {
  await Promise.all(
    pages.map(async (page) => {
      const outcomes = await page.evaluate(
        (increments) =>
          driver.run(
            Array.from({ length: increments }, () => ({
              ops: [["increment", "counters", "counter", ["both", "browsers"]]],
            })),
          ),
        INCREMENTS,
      );
      assert.ok(outcomes.every((failure) => failure === null));
      await flushed(page);
    }),
  );
}

/** Waits until the browsers have these numbers in the document, and looks that no increment was discarded. */
export async function haveCounted(pages: readonly Page[], expected: Readonly<Record<string, number>>): Promise<void> {
  for (const page of pages)
    await until(
      "the browsers have the sum",
      () => page.evaluate(() => driver.dump("counters")),
      ([row]) => {
        const found = row?.[1] as Record<string, unknown> | undefined;
        return found !== undefined && Object.entries(expected).every(([name, n]) => found[name] === n);
      },
    );
  assert.deepEqual(await pages[0]?.evaluate(() => driver.conflicts()), [], "nothing was discarded");
}
