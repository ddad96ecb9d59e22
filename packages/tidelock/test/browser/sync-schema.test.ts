/** One tab changes the schema of the database while another one leads. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Page } from "playwright-core";
import type { OpenSpec } from "./pages/sync-driver.ts";
import { flushed, until, untilPhase, withStack } from "./stack.ts";
import type { Stack } from "./stack.ts";

const SPEC: OpenSpec = { stores: [{ name: "notes", keyPath: "id" }] };
const RECREATED: OpenSpec = { version: 2, stores: [{ name: "notes", keyPath: "id", recreate: true }] };
const IDS = ["a", "b", "c", "d", "e"];

function put(page: Page, id: string, n: number): Promise<unknown> {
  return page.evaluate((row) => driver.run([{ ops: [["put", "notes", row]] }]), { id, n });
}

/** A tab that leads, whose rows the server has. */
async function leaderOf(stack: Stack): Promise<{ leader: Page; second: Page }> {
  const browser = await stack.browser();
  const leader = await stack.page(browser, SPEC);
  for (const id of IDS) await put(leader, id, 1);
  await flushed(leader);
  assert.ok(await leader.evaluate(() => driver.status.leader));
  return { leader, second: await browser.open(stack.url) };
}

function expected(edits: Readonly<Record<string, number>>): Record<string, unknown> {
  return Object.fromEntries(IDS.map((id) => [id, { id, n: edits[id] ?? 1 }]));
}

void test(
  "edits in a store that another tab recreated are sent, and nothing is deleted",
  { timeout: 60_000 },
  async () => {
    await withStack({}, async (stack) => {
      const { second } = await leaderOf(stack);
      await second.evaluate((spec) => driver.open(spec), RECREATED);
      await put(second, "a", 2);
      await flushed(second);
      assert.deepEqual(await stack.state("notes"), expected({ a: 2 }));
    });
  },
);

void test(
  "unsent edits of a store that another tab recreates are not taken for deletes",
  { timeout: 60_000 },
  async () => {
    await withStack({}, async (stack) => {
      const { leader, second } = await leaderOf(stack);
      await leader.evaluate(() => driver.offline());
      await untilPhase(leader, "offline");
      await put(leader, "a", 2);
      await until(
        "the leader knows of the edit",
        () => leader.evaluate(() => driver.status.pending),
        (pending) => pending === 1,
      );
      await second.evaluate((spec) => driver.open(spec), { ...RECREATED, offline: true });
      await put(second, "b", 3);
      await second.evaluate(() => driver.online());
      await flushed(second);
      assert.deepEqual(await stack.state("notes"), expected({ b: 3 }));
    });
  },
);
