/** Documents go from the browser to Java and back by themselves, over a real cluster. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { median, PATIENCE_MS, percentile, until, untilPhase } from "../browser/stack.ts";
import { onGeode } from "./cluster.ts";

const WRITES = 100;
const NOTES = { notes: { region: "docs" } } as const;
const SPEC = { stores: [{ name: "notes", keyPath: "id" }] } as const;

/** One member of every type that an application's document has. */
const DOCUMENT = {
  id: "every-type",
  text: "Zoë 😀",
  empty: "",
  small: 7,
  large: 3_000_000_000,
  negative: -70_000,
  half: 0.5,
  yes: true,
  no: false,
  none: null,
  nested: { city: "Köln", at: { x: 1, y: 2.5 } },
  mixed: [1, "two", [3], { four: 4 }, null, true],
};
const TYPES =
  "{empty:String,half:Double,id:String,large:Long,mixed:[Byte,String,[Byte],{four:Byte},null,Boolean]," +
  "negative:Integer,nested:{at:{x:Byte,y:Double},city:String},no:Boolean,none:null,small:Byte,text:String,yes:Boolean}";

void test("Java and OQL see what a browser writes, with its types", { timeout: 120_000 }, async () => {
  await onGeode(NOTES, async ({ stack, java }) => {
    const page = await stack.client(SPEC);
    await page.evaluate((row) => driver.run([{ ops: [["put", "notes", row]] }]), DOCUMENT);
    await page.evaluate(() =>
      driver.run([{ ops: [["put", "notes", { id: "date", at: new Date(1_700_000_000_123), big: 2n ** 70n }]] }]),
    );
    await page.evaluate(() => driver.flush());
    assert.deepEqual(await java.get("docs", DOCUMENT.id), DOCUMENT);
    assert.equal(await java.run("types", "docs", DOCUMENT.id), TYPES);
    // What JSON lacks has a form of its own, which says what it is.
    assert.deepEqual(await java.get("docs", "date"), {
      id: "date",
      at: { "~date": 1_700_000_000_123 },
      big: 2 ** 70,
    });
    assert.equal(await java.run("types", "docs", "date"), "{at:{~date:Long},big:BigInteger,id:String}");
    const found = (where: string): Promise<string> =>
      java.run("query", `SELECT DISTINCT d.id FROM /docs d WHERE ${where}`);
    for (const where of [
      "d.small = 7 AND d.half < 0.6 AND d.yes = true",
      "d.nested.city = 'Köln' AND d.nested.at.y > 2",
      "d.large > 2999999999L AND d.none = null",
    ])
      assert.equal(await found(where), "java.lang.String every-type", where);
  });
});

void test("a browser's rows and page follow what Java does", { timeout: 180_000 }, async () => {
  await onGeode(NOTES, async ({ stack, java }) => {
    await java.put("docs", "before", { id: "before", n: 1 });
    const page = await stack.client(SPEC);
    await untilPhase(page, "live");
    await page.evaluate(() => driver.observe("notes"));
    const rows = async (): Promise<Record<string, unknown>> =>
      Object.fromEntries(await page.evaluate(() => driver.dump("notes")));
    const shown = (): Promise<unknown> => page.evaluate(() => driver.observed.at(-1));
    const follows = async (expected: readonly object[]): Promise<void> => {
      const text = JSON.stringify(expected);
      await until(`the page shows ${text}`, shown, (now) => JSON.stringify(now) === text);
      assert.deepEqual(Object.values(await rows()), expected);
    };
    await follows([{ id: "before", n: 1 }]);
    await java.put("docs", "java", { id: "java", list: [1, { a: null }], big: 12345678901 });
    await follows([
      { id: "before", n: 1 },
      { id: "java", list: [1, { a: null }], big: 12345678901 },
    ]);
    await java.put("docs", "java", { id: "java", list: [] });
    await java.put("docs", "before", { id: "before", n: 2, text: "é😀" });
    await follows([
      { id: "before", n: 2, text: "é😀" },
      { id: "java", list: [] },
    ]);
    await java.run("destroy", "docs", "before");
    await follows([{ id: "java", list: [] }]);
    const changes = await page.evaluate(() => driver.heard.changes);
    assert.ok(changes.every(({ origin }) => origin === "remote"));
  });
});

void test("latency in both directions", { timeout: 300_000 }, async () => {
  await onGeode(NOTES, async ({ stack, java }) => {
    const page = await stack.client(SPEC);
    await untilPhase(page, "live");
    await page.evaluate(() => driver.observe("notes"));
    const toJava: number[] = [];
    for (let n = 0; n < WRITES; n++) {
      const seen = java.run("await", "docs", "row", "n", String(n));
      const at = await page.evaluate((row) => {
        const now = Date.now();
        return driver.run([{ ops: [["put", "notes", { id: "row", n: row }]] }]).then(() => now);
      }, n);
      toJava.push(Number(await seen) - at);
    }
    for (let n = 0; n < WRITES; n++) {
      const id = `java-${n}`;
      await java.run("put-now", "docs", id, JSON.stringify({ id, at: "@now" }).replace('"@now"', "@now"));
      await page.waitForFunction((row) => driver.latencies.has(row), id, { polling: 5, timeout: PATIENCE_MS });
    }
    const fromJava = await page.evaluate(() => [...driver.latencies.values()]);
    for (const [direction, latencies] of [
      ["browser's put to Java's get", toJava],
      ["Java's put to the browser's page", fromJava],
    ] as const) {
      assert.equal(latencies.length, WRITES);
      const figures = `median ${median(latencies)} ms, p99 ${percentile(latencies, 0.99)} ms`;
      console.log(`geode live: ${direction}: ${figures} of ${WRITES} writes`);
    }
  });
});
