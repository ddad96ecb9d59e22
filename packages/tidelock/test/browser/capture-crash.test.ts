/**
 * Chromium is killed with SIGKILL while a page writes: rows and marks must be there together or not at all.
 *
 * Killed within a write to its log, Chromium may find the log corrupt at a later start and delete the database, as it then
 * tells the page (`dataLoss` of the upgrade event). Such a kill shows nothing about rows and marks, so that it counts for
 * nothing but must leave a database that can be used: the next run writes to it.
 */
import assert from "node:assert/strict";
import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { launchChromium, removeProfile, seedOf, servePage } from "./harness.ts";
import { randomFrom } from "./pages/capture-programs.ts";

/** Kills whose database was there to be examined. */
const KILLS = 5;

/** Kills after which Chromium may have deleted the database, at most. */
const WIPES_MAX = 15;

/** Rows that a run has acknowledged before its kill is due: at least this many, at most twice as many. */
const ROWS_MIN = 60;

await test("kill -9 leaves rows and marks together", { timeout: 180_000 }, async () => {
  const random = randomFrom(seedOf("capture crash"));
  const profile = await mkdtemp(join(tmpdir(), "tidelock-crash-"));
  const served = await servePage("pages/capture-crash-page.ts", import.meta.url);
  const acknowledged: string[] = [];
  try {
    let wipes = 0;
    const wipe = (reason: string): void => {
      console.log(`capture crash: Chromium deleted the database: ${reason}`);
      acknowledged.length = 0;
      wipes += 1;
    };
    for (let run = 0; run < KILLS + wipes; run++) {
      assert.ok(wipes <= WIPES_MAX, "Chromium deletes the database at nearly every start");
      const browser = await launchChromium({ profile });
      try {
        const page = await browser.open(served.url);
        const wiped = await page.evaluate((number) => globalThis.crash.write(number), run);
        if (wiped !== undefined) wipe(wiped);
        const enough = ROWS_MIN + Math.floor(random() * ROWS_MIN);
        await page.waitForFunction((count) => globalThis.crash.acknowledged.length >= count, enough, { polling: 5 });
        acknowledged.push(...(await page.evaluate(() => globalThis.crash.acknowledged)));
      } finally {
        await browser.kill();
      }
      const after = await examine(profile, served.url, acknowledged);
      if (after.wiped === undefined) {
        console.log(`capture crash: kill ${run}: ${after.rows} rows in ${after.transactions} transactions`);
        assert.deepEqual(after.faults, []);
        assert.ok(after.rows >= acknowledged.length);
      } else {
        wipe(after.wiped);
      }
    }
  } finally {
    await served.close();
    await removeProfile(profile);
  }
});

async function examine(
  profile: string,
  url: string,
  acknowledged: readonly string[],
): ReturnType<typeof crash.examine> {
  const browser = await launchChromium({ profile });
  try {
    const page = await browser.open(url);
    return await page.evaluate((keys) => globalThis.crash.examine(keys), acknowledged);
  } finally {
    await browser.close();
  }
}
