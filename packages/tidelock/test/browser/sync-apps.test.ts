/** The same application with IndexedDB itself, idb and Dexie: each in a profile of its own, all in sync. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { Page } from "playwright-core";
import type { Note } from "./pages/sync-apps.ts";
import { makeScript, page as html, until, withStack } from "./stack.ts";

const KINDS = ["raw", "idb", "dexie"] as const;

void test("one application, three libraries", { timeout: 90_000 }, async () => {
  await withStack({}, async (stack) => {
    await makeScript("pages/sync-apps.ts", join(stack.app, "apps.js"));
    await writeFile(join(stack.app, "apps.html"), html('<script type="module" src="/apps.js"></script>'));
    const pages: Page[] = [];
    for (const kind of KINDS) {
      const page = await (await stack.browser()).open(`${stack.url}apps.html`);
      await page.evaluate((which) => start(which), kind);
      pages.push(page);
    }
    const [raw, idb, dexie] = pages as [Page, Page, Page];

    for (const [index, page] of pages.entries()) {
      await page.evaluate((id) => application.add({ id, tag: "red", count: 0 }), `n${index}`);
      await everywhere(pages, (notes) => notes.length === index + 1);
    }
    for (const [index, page] of pages.entries()) {
      await page.evaluate(() => application.bump("red"));
      await everywhere(pages, (notes) => notes.every(({ count }) => count === index + 1));
    }
    await idb.evaluate(() => application.add({ id: "other", tag: "blue", count: 9 }));
    await raw.evaluate(() => application.remove("n1"));
    await everywhere(pages, (notes) => notes.map(({ id }) => id).join() === "n0,n2,other");
    for (const page of pages)
      assert.deepEqual(
        (await page.evaluate(() => application.byTag("red"))).map(({ id }) => id),
        ["n0", "n2"],
      );

    // Dexie's live query, which nobody asked again, has followed.
    const last = (): Promise<Note[] | undefined> => dexie.evaluate(() => liveResults.at(-1));
    await until(
      "the live query follows",
      last,
      (notes) => JSON.stringify(notes?.map(({ id, count }) => [id, count])) === '[["n0",3],["n2",3]]',
    );
    await raw.evaluate(() => application.add({ id: "n3", tag: "red", count: 0 }));
    await until("the live query sees a row that comes", last, (notes) => notes?.length === 3);
    await idb.evaluate(() => application.remove("n0"));
    await until("the live query sees a row that goes", last, (notes) => notes?.map(({ id }) => id).join() === "n2,n3");
  });
});

async function everywhere(pages: readonly Page[], holds: (notes: Note[]) => boolean): Promise<void> {
  for (const page of pages) await until("every page shows it", () => page.evaluate(() => application.all()), holds);
}
