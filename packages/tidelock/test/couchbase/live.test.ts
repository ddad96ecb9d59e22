/** Documents go from the browser to Couchbase's own client and back by themselves. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Page } from "playwright-core";
import { flushed, median, PATIENCE_MS, percentile, until, untilPhase } from "../browser/stack.ts";
import { found, onCouchbase } from "./cluster.ts";

const WRITES = 100;
const NOTES = { notes: "" };
const SPEC = { stores: [{ name: "notes", keyPath: "id" }] } as const;

const DOCUMENT = {
  id: "every-type",
  text: "Zoë 😀",
  small: 7,
  large: 3_000_000_000,
  half: 0.5,
  yes: true,
  none: null,
  nested: { city: "Köln", at: { x: 1, y: 2.5 } },
  mixed: [1, "two", [3], { four: 4 }, null, true],
};

/** Waits until the page shows these rows by itself, and its database has them. */
async function follows(page: Page, expected: readonly object[]): Promise<void> {
  const text = JSON.stringify(expected);
  const shown = (): Promise<unknown> => page.evaluate(() => driver.observed.at(-1));
  await until(`the page shows ${text}`, shown, (now) => JSON.stringify(now) === text);
  const rows = await page.evaluate(() => driver.dump("notes"));
  assert.deepEqual(
    rows.map(([, row]) => row),
    expected,
  );
}

void test("the client reads what a browser writes, as plain JSON", { timeout: 120_000 }, async () => {
  await onCouchbase(NOTES, async ({ stack, sdk, collection }) => {
    const page = await stack.client(SPEC);
    await page.evaluate((row) => driver.run([{ ops: [["put", "notes", row]] }]), DOCUMENT);
    await flushed(page);
    // Nothing of ours is in it.
    assert.deepEqual(await found(sdk, collection("notes"), DOCUMENT.id), DOCUMENT);
    await page.evaluate(() => driver.run([{ ops: [["delete", "notes", "every-type"]] }]));
    await flushed(page);
    assert.equal(await found(sdk, collection("notes"), DOCUMENT.id), null);
  });
});

void test("a browser's rows and page follow what the client does", { timeout: 180_000 }, async () => {
  await onCouchbase(NOTES, async ({ stack, sdk, collection }) => {
    const notes = collection("notes");
    await notes.upsert("before", { id: "before", n: 1 });
    const page = await stack.client(SPEC);
    await untilPhase(page, "live");
    await page.evaluate(() => driver.observe("notes"));
    await follows(page, [{ id: "before", n: 1 }]);
    await notes.upsert("sdk", { id: "sdk", list: [1, { a: null }], deep: { a: 1, b: 1 } });
    await follows(page, [
      { id: "before", n: 1 },
      { id: "sdk", list: [1, { a: null }], deep: { a: 1, b: 1 } },
    ]);
    // A sub-document edit.
    await notes.mutateIn("sdk", [sdk.MutateInSpec.upsert("deep.b", 2), sdk.MutateInSpec.upsert("list", [])]);
    await notes.remove("before");
    await follows(page, [{ id: "sdk", list: [], deep: { a: 1, b: 2 } }]);
    // An edit of the browser keeps what a sub-document edit changes elsewhere in the document meanwhile.
    await page.evaluate(() => driver.offline());
    await untilPhase(page, "offline");
    await page.evaluate(() => driver.run([{ ops: [["put", "notes", { id: "sdk", list: [], deep: { a: 9, b: 2 } }]] }]));
    await notes.mutateIn("sdk", [sdk.MutateInSpec.upsert("deep.b", 8)]);
    await page.evaluate(() => driver.online());
    await flushed(page);
    assert.deepEqual(await found(sdk, notes, "sdk"), { id: "sdk", list: [], deep: { a: 9, b: 8 } });
    await follows(page, [{ id: "sdk", list: [], deep: { a: 9, b: 8 } }]);
    // What is removed and stored again is a new document.
    await notes.remove("sdk");
    await follows(page, []);
    await notes.upsert("sdk", { id: "sdk", again: true });
    await follows(page, [{ id: "sdk", again: true }]);
    const changes = await page.evaluate(() => driver.heard.changes);
    assert.ok(changes.some(({ origin }) => origin === "remote"));
  });
});

void test("a document that expires goes from the browser", { timeout: 120_000 }, async () => {
  await onCouchbase(NOTES, async ({ stack, sdk, collection }) => {
    const page = await stack.client(SPEC);
    await untilPhase(page, "live");
    await page.evaluate(() => driver.observe("notes"));
    await collection("notes").upsert("short", { id: "short", n: 1 }, { expiry: 4 });
    await follows(page, [{ id: "short", n: 1 }]);
    // An edit of the browser keeps the expiry.
    await page.evaluate(() => driver.run([{ ops: [["put", "notes", { id: "short", n: 2 }]] }]));
    await flushed(page);
    // The server removes it when it is asked for it, or now and then.
    await until(
      "it has expired",
      () => found(sdk, collection("notes"), "short"),
      (document) => document === null,
    );
    await follows(page, []);
  });
});

void test("latency in both directions", { timeout: 300_000 }, async () => {
  await onCouchbase(NOTES, async ({ stack, sdk, collection }) => {
    const page = await stack.client(SPEC);
    await untilPhase(page, "live");
    await page.evaluate(() => driver.observe("notes"));
    const toClient: number[] = [];
    for (let n = 0; n < WRITES; n++) {
      const at = await page.evaluate((row) => {
        const now = Date.now();
        return driver.run([{ ops: [["put", "notes", { id: "row", n: row }]] }]).then(() => now);
      }, n);
      await until(
        `the client reads ${n}`,
        () => found(sdk, collection("notes"), "row"),
        (document) => JSON.stringify(document) === JSON.stringify({ id: "row", n }),
      );
      toClient.push(Date.now() - at);
    }
    for (let n = 0; n < WRITES; n++) {
      const id = `sdk-${n}`;
      await collection("notes").upsert(id, { id, at: Date.now() });
      await page.waitForFunction((row) => driver.latencies.has(row), id, { polling: 5, timeout: PATIENCE_MS });
    }
    const fromClient = await page.evaluate(() => [...driver.latencies.values()]);
    for (const [direction, latencies] of [
      ["browser's put to the client's get", toClient],
      ["the client's upsert to the browser's page", fromClient],
    ] as const) {
      assert.equal(latencies.length, WRITES);
      const figures = `median ${median(latencies)} ms, p99 ${percentile(latencies, 0.99)} ms`;
      console.log(`couchbase live: ${direction}: ${figures} of ${WRITES} writes`);
    }
  });
});
