/** Chromium cannot read its database any more and deletes it: the application is told, and gets the server's rows again. */
import assert from "node:assert/strict";
import { open, readdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { OpenSpec } from "./pages/sync-driver.ts";
import { flushed, until, withStack } from "./stack.ts";

const SPEC: OpenSpec = { stores: [{ name: "notes", keyPath: "id" }] };
/** Rows that the server has confirmed. */
const ROWS = 40;

void test("a database that the browser deleted is reported, and filled again", { timeout: 90_000 }, async () => {
  await withStack({}, async (stack) => {
    const profile = await stack.profile();
    const first = await stack.browser(profile);
    const before = await stack.page(first, SPEC);
    const ids = Array.from({ length: ROWS }, (_, index) => `note-${index}`);
    const text = "t".repeat(1000);
    await before.evaluate(
      ([keys, value]) => driver.run(keys.map((id) => ({ ops: [["put", "notes", { id, text: value }]] }))),
      [ids, text] as const,
    );
    await flushed(before);
    assert.equal(await before.evaluate(() => driver.status.lost), null);
    await before.evaluate(() => driver.offline());
    await before.evaluate(() => driver.run([{ ops: [["put", "notes", { id: "unsent" }]] }]));
    await first.close();
    await corrupt(profile);

    const page = await stack.page(await stack.browser(profile), SPEC);
    const { lost, errors } = await page.evaluate(() => ({ lost: driver.status.lost, errors: driver.heard.errors }));
    assert.match(String(lost), /corrupt/i);
    assert.deepEqual(
      errors.filter(({ code }) => code === "database-lost").map(({ retryable }) => retryable),
      [false],
    );
    const rows = await until(
      "the server's rows come back",
      () => page.evaluate(() => driver.dump("notes")),
      (all) => all.length >= ROWS,
    );
    assert.deepEqual(new Set(rows.map(([key]) => key)), new Set(ids), "what was not sent is lost");
    await page.evaluate(() => driver.run([{ ops: [["put", "notes", { id: "later" }]] }]));
    await flushed(page);
    assert.equal(Object.keys(await stack.state("notes")).length, ROWS + 1);
  });
});

/** Overwrites the middle of every log of the origin's database: its records no longer have their checksums. */
async function corrupt(profile: string): Promise<void> {
  const directory = join(profile, "Default", "IndexedDB");
  const logs = (await readdir(directory, { recursive: true })).filter((name) => /\.leveldb\/\d+\.log$/.test(name));
  assert.ok(logs.length > 0, "the browser keeps its database in LevelDB");
  for (const log of logs) {
    const file = await open(join(directory, log), "r+");
    const { size } = await file.stat();
    await file.write(Buffer.alloc(64, 0xa5), 0, 64, Math.floor(size / 2));
    await file.close();
  }
}
