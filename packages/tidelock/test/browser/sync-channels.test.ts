/** Channels that are subscribed at run time outlive the tab that leads. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Page } from "playwright-core";
import type { OpenSpec } from "./pages/sync-driver.ts";
import { flushed, TEAM_CHANNELS, until, untilPhase, withStack } from "./stack.ts";
import type { Stack } from "./stack.ts";

const USER = "ann+red+blue+green";
const TEAMS = ["red", "blue", "green"];
const SPEC: OpenSpec = { stores: [{ name: "notes", keyPath: "id" }], user: USER, channels: ["team:red"] };

async function keys(page: Page): Promise<string> {
  return (await page.evaluate(() => driver.dump("notes"))).map(([key]) => key).join();
}

async function untilKeys(page: Page, expected: string): Promise<void> {
  await until(
    `the rows are ${expected}`,
    () => keys(page),
    (found) => found === expected,
  );
}

async function withTeams(body: (stack: Stack) => Promise<void>): Promise<void> {
  await withStack({ config: TEAM_CHANNELS }, async (stack) => {
    stack.reader = USER;
    for (const team of TEAMS)
      assert.ok((await stack.rest("PUT", `app/notes/${team}`, JSON.stringify({ id: team, team }))).ok);
    await body(stack);
  });
}

/** Waits until the page has what a document that is written here shows: everything before it was applied as well. */
async function upToDate(stack: Stack, page: Page, text: string): Promise<void> {
  const written = await stack.rest("PUT", "app/notes/red", JSON.stringify({ id: "red", team: "red", text }));
  assert.ok(written.ok);
  await until(
    "the document comes",
    () => page.evaluate(async () => (await driver.dump("notes")).map(([, row]) => (row as { text?: string }).text)),
    (texts) => texts.includes(text),
  );
}

void test("the next leader goes on with the channels that were subscribed", { timeout: 60_000 }, async () => {
  await withTeams(async (stack) => {
    const browser = await stack.browser();
    const leader = await stack.page(browser, SPEC);
    await flushed(leader);
    const other = await stack.page(browser, SPEC);
    await leader.evaluate(() => driver.subscribe(["team:blue"]));
    await untilKeys(other, "blue,red");
    await leader.close();
    await until(
      "the other tab leads",
      () => other.evaluate(() => driver.status),
      ({ leader: leads, phase }) => leads && phase === "live",
    );
    await upToDate(stack, other, "later");
    assert.equal(await keys(other), "blue,red");
    await other.reload();
    await other.evaluate((spec) => driver.open(spec), SPEC);
    await flushed(other);
    await upToDate(stack, other, "reloaded");
    assert.equal(await keys(other), "blue,red");
    // Other channels in the options are another wish.
    await other.reload();
    await other.evaluate((spec) => driver.open(spec), { ...SPEC, channels: ["team:green"] });
    await untilKeys(other, "green");
  });
});

void test("who has everything loses nothing by subscribing, and cannot unsubscribe", { timeout: 60_000 }, async () => {
  await withTeams(async (stack) => {
    const { channels: _, ...everything } = SPEC;
    const page = await stack.client(everything);
    await untilPhase(page, "live");
    await untilKeys(page, "blue,green,red");
    await page.evaluate(() => driver.subscribe(["team:blue"]));
    await upToDate(stack, page, "subscribed");
    assert.equal(await keys(page), "blue,green,red");
    await assert.rejects(
      page.evaluate(() => driver.unsubscribe(["team:blue"])),
      /channels/,
    );
    await upToDate(stack, page, "refused");
    assert.equal(await keys(page), "blue,green,red");
  });
});
