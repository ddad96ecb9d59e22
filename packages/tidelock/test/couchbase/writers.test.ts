/** Several documents at once, and many writers of one: nothing is torn, no update is lost. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { flushed, until, untilPhase } from "../browser/stack.ts";
import { count, counting, haveCounted, INCREMENTS, SUMS } from "../platform/counters.ts";
import { found, onCouchbase } from "./cluster.ts";
import type { OnCouchbase } from "./cluster.ts";

const TRANSACTIONS = 40;

void test("transactions are whole on both sides", { timeout: 180_000 }, async () => {
  await onCouchbase({ left: "", right: "" }, async ({ stack, sdk, collection }) => {
    const spec = { stores: [{ name: "left" }, { name: "right" }] } as const;
    const writer = await stack.client(spec);
    const reader = await stack.client({ ...spec, user: "bob" });
    for (const page of [writer, reader]) await untilPhase(page, "live");
    await reader.evaluate(() => driver.watchPairs("left", "right"));
    for (let n = 0; n < TRANSACTIONS; n++) {
      const outcome = await writer.evaluate(
        (count) =>
          driver.run([
            {
              ops: [
                ["put", "left", { n: count }, "pair"],
                ["put", "right", { n: count }, "pair"],
              ],
            },
          ]),
        n,
      );
      assert.deepEqual(outcome, [null]);
      if (n % 4 !== 0) continue;
      // What is confirmed, others read whole.
      await flushed(writer);
      for (const name of ["left", "right"]) assert.deepEqual(await found(sdk, collection(name), "pair"), { n });
    }
    await flushed(writer);
    for (const page of [writer, reader])
      for (const store of ["left", "right"])
        await until(
          `${store} has the last pair`,
          () => page.evaluate((name) => driver.dump(name), store),
          ([row]) => JSON.stringify(row?.[1]) === JSON.stringify({ n: TRANSACTIONS - 1 }),
        );
    assert.deepEqual(await reader.evaluate(() => driver.torn), [], "no reader of ours sees a part");
  });
});

/** Adds one as an application does that reads, changes and replaces; how often somebody else was faster. */
async function incrementByCas({ sdk, collection }: OnCouchbase, count: number): Promise<number> {
  let lost = 0;
  for (let left = count; left > 0;) {
    const { content, cas } = await collection("counters").get("counter");
    const { both, cas: own, ...rest } = content as Record<"both" | "browsers" | "cas" | "paths", number>;
    try {
      await collection("counters").replace("counter", { ...rest, both: both + 1, cas: own + 1 }, { cas });
      left--;
    } catch (error) {
      if (!(error instanceof sdk.CasMismatchError)) throw error;
      lost++;
    }
  }
  return lost;
}

void test("10,000 increments of browsers and of the client add up", { timeout: 600_000 }, async () => {
  await onCouchbase({ counters: SUMS }, async (given) => {
    const { stack, sdk, collection } = given;
    const counters = collection("counters");
    await counters.upsert("counter", { both: 0, browsers: 0, cas: 0, paths: 0 });
    const pages = await counting(stack);
    const started = Date.now();
    const byCas = incrementByCas(given, INCREMENTS);
    const byPath = (async () => {
      for (let n = 0; n < INCREMENTS; n++)
        await counters.mutateIn("counter", [
          sdk.MutateInSpec.increment("both", 1),
          sdk.MutateInSpec.increment("paths", 1),
        ]);
    })();
    await count(pages);
    await byPath;
    const lost = await byCas;
    const expected = { both: 4 * INCREMENTS, browsers: 2 * INCREMENTS, cas: INCREMENTS, paths: INCREMENTS };
    assert.deepEqual(await found(sdk, counters, "counter"), expected);
    await haveCounted(pages, expected);
    console.log(
      `couchbase writers: ${4 * INCREMENTS} increments in ${Date.now() - started} ms; the client's replace was too late ${lost} times`,
    );
  });
});
