/** A write in one browser appears in the page of another by itself. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { flushed, median, PATIENCE_MS, until, untilPhase, withStack } from "./stack.ts";

const WRITES = 40;

void test("a write in one profile appears in the other's page", { timeout: 90_000 }, async () => {
  await withStack({}, async (stack) => {
    const spec = { stores: [{ name: "notes", keyPath: "id" }] };
    const a = await stack.client(spec);
    const b = await stack.client({ ...spec, user: "bob" });
    await untilPhase(a, "live");
    await untilPhase(b, "live");
    await b.evaluate(() => driver.observe("notes"));
    for (let id = 0; id < WRITES; id++) {
      await a.evaluate((row) => driver.run([{ ops: [["put", "notes", { id: row, at: Date.now(), text: "hello" }]] }]), id);
      await b.waitForFunction((row) => driver.latencies.has(row), id, { polling: 5, timeout: PATIENCE_MS });
    }
    const latencies = await b.evaluate(() => [...driver.latencies.values()]);
    console.log(`sync live: median latency ${median(latencies)} ms, greatest ${Math.max(...latencies)} ms of ${latencies.length} writes`);
    assert.equal(latencies.length, WRITES);

    const changes = await b.evaluate(() => driver.heard.changes);
    assert.deepEqual(changes.flatMap(({ keys }) => keys), Array.from({ length: WRITES }, (_, id) => id));
    assert.ok(changes.every(({ store, origin }) => store === "notes" && origin === "remote"));
    assert.ok(await a.evaluate(() => driver.heard.changes.every(({ origin }) => origin === "local")));

    await b.evaluate(() => driver.run([{ ops: [["delete", "notes", 7]] }]));
    const rows = (): Promise<unknown[]> => a.evaluate(() => driver.dump("notes"));
    await until("the delete arrives", rows, ({ length }) => length === WRITES - 1);
    await flushed(a);
    assert.equal(Object.keys(await stack.state("notes")).length, WRITES - 1);
  });
});
