/** Behaviour of the capture layer, one case per page load, in Chromium. The cases are in `pages/`. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { launchChromium, servePage } from "./harness.ts";

await test("capture", async (group) => {
  const served = await servePage("pages/capture-page.ts", import.meta.url);
  const browser = await launchChromium();
  try {
    const page = await browser.open(served.url);
    const names = await page.evaluate(() => Object.keys(globalThis.cases));
    assert.ok(names.length > 0);
    for (const name of names) {
      await group.test(name, { timeout: 30_000 }, async () => {
        await page.goto(served.url);
        await page.evaluate((which) => globalThis.cases[which]?.(), name);
      });
    }
  } finally {
    await browser.close();
    await served.close();
  }
});
