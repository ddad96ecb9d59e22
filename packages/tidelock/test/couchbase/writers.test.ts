/** Several documents at once, and many writers of one: nothing is torn, no update is lost. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { flushed, until, untilPhase } from "../browser/stack.ts";
import { count, counting, haveCounted, INCREMENTS, SUMS } from "../platform/counters.ts";
import { clientNames } from "./application.ts";
import type { Client } from "./application.ts";
import { onCouchbase } from "./cluster.ts";

const TRANSACTIONS = 40;
/** Edits by each who changes parts of a document. */
const EDITS = 100;

void test("transactions are whole on both sides", { timeout: 180_000 }, async () => {
  await onCouchbase({ left: "", right: "" }, async ({ stack, application }) => {
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
      for (const name of ["left", "right"]) assert.deepEqual(await application.get(name, "pair"), { n });
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

/** How each application adds: by reading and replacing with CAS, or, the last one, by increments of the paths. */
async function add(client: Client, member: string, times: number, isByPath: boolean): Promise<number> {
  if (!isByPath) return client.add("counters", "counter", ["both", member], times);
  for (let n = 0; n < times; n++)
    await client.edit("counters", "counter", ["increment", "both", 1], ["increment", member, 1]);
  return 0;
}

void test("10,000 increments of browsers and of all clients add up", { timeout: 600_000 }, async () => {
  const names = clientNames();
  await onCouchbase(
    { counters: SUMS },
    async ({ stack, clients, application }) => {
      const others = Math.floor((2 * INCREMENTS) / clients.length);
      const members = clients.map(({ name }, at) => `${name} ${at}`);
      const zeros = Object.fromEntries(members.map((member) => [member, 0]));
      await application.put("counters", "counter", { both: 0, browsers: 0, ...zeros });
      const pages = await counting(stack);
      const started = Date.now();
      const adding = clients.map((client, at) => add(client, members[at] ?? "", others, at === clients.length - 1));
      await count(pages);
      const late = await Promise.all(adding);
      const total = 2 * INCREMENTS + others * clients.length;
      const expected = {
        both: total,
        browsers: 2 * INCREMENTS,
        ...Object.fromEntries(members.map((member) => [member, others])),
      };
      for (const client of clients)
        assert.deepEqual(await client.get("counters", "counter"), expected, `as ${client.name} reads it`);
      await haveCounted(pages, expected);
      const told = members.map((member, at) => `${member}: ${late[at]}`).join(", ");
      console.log(
        `couchbase writers: ${total} increments in ${Date.now() - started} ms; replaces that were too late: ${told}`,
      );
    },
    [...names, names[0] ?? ""],
  );
});

void test("edits of parts of a document by all clients and a browser survive", { timeout: 180_000 }, async () => {
  await onCouchbase(
    { docs: "" },
    async ({ stack, clients, application }) => {
      const names = clients.map(({ name }) => name);
      const fields = Object.fromEntries(names.map((name) => [name, { n: 0, seen: [] }]));
      await application.put("docs", "shared", { browser: 0, ...fields });
      const page = await stack.client({ stores: [{ name: "docs" }] });
      await until(
        "the document is there",
        () => page.evaluate(() => driver.dump("docs")),
        ({ length }) => length === 1,
      );
      const byClients = clients.map(async (client) => {
        for (let n = 1; n <= EDITS; n++)
          await client.edit(
            "docs",
            "shared",
            ["upsert", `${client.name}.n`, n],
            ...(n % 20 === 0 ? [["append", `${client.name}.seen`, n] as const] : []),
          );
      });
      const outcomes = await page.evaluate(
        (edits) =>
          driver.run(Array.from({ length: edits }, () => ({ ops: [["increment", "docs", "shared", ["browser"]]] }))),
        EDITS,
      );
      assert.ok(outcomes.every((failure) => failure === null));
      await Promise.all(byClients);
      await flushed(page);
      const expected = {
        browser: EDITS,
        ...Object.fromEntries(names.map((name) => [name, { n: EDITS, seen: [20, 40, 60, 80, 100] }])),
      };
      for (const client of clients) assert.deepEqual(await client.get("docs", "shared"), expected, client.name);
      await until(
        "the browser has it, too",
        () => page.evaluate(() => driver.dump("docs")),
        ([row]) => isDeepStrictEqual(row?.[1], expected),
      );
      assert.deepEqual(await page.evaluate(() => driver.conflicts()), [], "nothing was discarded");
    },
    clientNames(),
  );
});
