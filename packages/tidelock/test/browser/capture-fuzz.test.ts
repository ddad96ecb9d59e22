/** Differential capture fuzz in Chromium; a failing seed is rerun with TIDELOCK_SEED. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { launchChromium, seedOf, servePage } from "./harness.ts";

const TRANSACTIONS = 2000;

await test("a wrapped database behaves as a native one, and every changed key is marked", async () => {
  const seed = seedOf("capture fuzz");
  const served = await servePage("pages/capture-fuzz-page.ts", import.meta.url);
  const browser = await launchChromium();
  try {
    const page = await browser.open(served.url);
    const report = await page.evaluate(([start, count]) => globalThis.fuzz(start, count), [
      seed,
      TRANSACTIONS,
    ] as const);
    console.log(`capture fuzz: ${JSON.stringify(report)}`);
    assert.equal(report.transactions, TRANSACTIONS);
    assert.ok(report.aborted > TRANSACTIONS / 50, "too few transactions aborted to tell");
    assert.ok(report.changedKeys > TRANSACTIONS, "too few keys changed to tell");
  } finally {
    await browser.close();
    await served.close();
  }
});
