/** Three tabs of one profile: the leader is closed, crashes, freezes, hangs. The others write and sync within two seconds, and nothing is lost. */
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { test } from "node:test";
import type { Page } from "playwright-core";
import type { Chromium } from "./harness.ts";
import type { OpenSpec } from "./pages/sync-driver.ts";
import { flushed, until, untilPhase, withStack } from "./stack.ts";
import type { Stack } from "./stack.ts";

/** How long a tab may be blocked by a leader that is gone. */
const BLOCKED_MS_MAX = 2000;
const SPEC: OpenSpec = { stores: [{ name: "notes", keyPath: "id" }] };

interface Scene {
  readonly stack: Stack;
  readonly browser: Chromium;
  readonly leader: Page;
  readonly leaderProcess: number;
  readonly others: readonly Page[];
  /** Another profile, which must see everything. */
  readonly witness: Page;
  /** Rows written so far. */
  readonly written: string[];
}

void test("the leader's tab is closed", { timeout: 60_000 }, async () => {
  await withScene(async (scene) => {
    await scene.leader.close();
    await othersGoOn(scene);
  });
});

void test("the leader's tab crashes", { timeout: 60_000 }, async () => {
  await withScene(async (scene) => {
    const session = await scene.browser.context.newCDPSession(scene.leader);
    const crashed = new Promise<void>((resolve) => scene.leader.once("crash", () => resolve()));
    void session.send("Page.crash").catch(() => undefined);
    await crashed;
    await othersGoOn(scene);
  });
});

void test("the leader's tab is frozen and thawed", { timeout: 60_000 }, async () => {
  await withScene(async (scene) => {
    const session = await scene.browser.context.newCDPSession(scene.leader);
    await session.send("Page.setWebLifecycleState", { state: "frozen" });
    await othersGoOn(scene);
    await session.send("Page.setWebLifecycleState", { state: "active" });
    await thawedLeaderTakesPart(scene);
  });
});

void test("the leader's process hangs and comes back", { timeout: 60_000 }, async () => {
  await withScene(async (scene) => {
    // A process that stops within an IndexedDB transaction blocks its stores until the browser ends it; nobody else can.
    await flushed(scene.leader);
    process.kill(scene.leaderProcess, "SIGSTOP");
    try {
      await othersGoOn(scene);
    } finally {
      process.kill(scene.leaderProcess, "SIGCONT");
    }
    await thawedLeaderTakesPart(scene);
  });
});

async function withScene(body: (scene: Scene) => Promise<void>): Promise<void> {
  await withStack({}, async (stack) => {
    const browser = await stack.browser();
    const leader = await stack.page(browser, SPEC);
    await untilPhase(leader, "live");
    assert.ok(await leader.evaluate(() => driver.status.leader));
    const leaderProcess = await processOf(browser, leader);
    const others = [await stack.page(browser, SPEC), await stack.page(browser, SPEC)];
    for (const other of others) await untilPhase(other, "live");
    const witness = await stack.client({ ...SPEC, user: "bob" });
    await untilPhase(witness, "live");
    const scene: Scene = { stack, browser, leader, leaderProcess, others, witness, written: [] };
    // The leader is busy with writes of every tab at the moment that it goes.
    for (const [index, tab] of [leader, ...others].entries()) {
      const ids = Array.from({ length: 50 }, (_, row) => `before-${index}-${row}`);
      scene.written.push(...ids);
      await tab.evaluate((rows) => driver.run(rows.map((id) => ({ ops: [["put", "notes", { id }]] }))), ids);
    }
    await body(scene);
  });
}

/** Every other tab writes at once; each write commits, and reaches the other profile, within the limit. */
async function othersGoOn({ stack, others, witness, written }: Scene): Promise<void> {
  const start = Date.now();
  const writes = await Promise.all(others.map((tab, index) => tab.evaluate((id) => driver.timedPut("notes", { id }), `after-${index}`)));
  written.push(...others.map((_, index) => `after-${index}`));
  await until("the other profile sees every write", () => keysOf(witness), (keys) => written.every((id) => keys.includes(id)));
  const synced = Date.now() - start;
  console.log(`sync leader: writes took ${writes.map((ms) => Math.round(ms)).join(" and ")} ms, the sync ${synced} ms`);
  assert.ok(Math.max(...writes) < BLOCKED_MS_MAX, `a write took ${Math.max(...writes)} ms`);
  assert.ok(synced < BLOCKED_MS_MAX, `the sync took ${synced} ms`);
  const leaders = await Promise.all(others.map((tab) => tab.evaluate(() => driver.status.leader)));
  assert.equal(leaders.filter(Boolean).length, 1, "one of the others leads");
  for (const tab of others) await flushed(tab);
  assert.deepEqual(Object.keys(await stack.state("notes")).sort(), [...written].sort());
}

async function keysOf(page: Page): Promise<unknown[]> {
  return (await page.evaluate(() => driver.dump("notes"))).map(([key]) => key);
}

/** The old leader sees what happened meanwhile, does not lead, and its writes sync through the present one. */
async function thawedLeaderTakesPart({ stack, leader, others, written }: Scene): Promise<void> {
  const leaders = async (): Promise<number> => {
    const leads = await Promise.all([leader, ...others].map((tab) => tab.evaluate(() => driver.status.leader)));
    return leads.filter(Boolean).length;
  };
  await until("exactly one tab leads", leaders, (count) => count === 1);
  await leader.evaluate(() => driver.timedPut("notes", { id: "thawed" }));
  written.push("thawed");
  for (const tab of [leader, ...others]) await flushed(tab);
  assert.equal(await leaders(), 1);
  const expected = [...written].sort();
  assert.deepEqual(Object.keys(await stack.state("notes")).sort(), expected);
  for (const tab of [leader, ...others]) {
    assert.deepEqual(await keysOf(tab), expected);
    assert.deepEqual(await tab.evaluate(() => driver.rejected()), []);
  }
}

/** How long a page whose process runs may take to answer. */
const ANSWER_MS_MAX = 2000;

/** The process that runs a page: the one without which the page does not answer. */
async function processOf(browser: Chromium, page: Page): Promise<number> {
  for (const pid of await renderersOf(browser.processGroup)) {
    process.kill(pid, "SIGSTOP");
    const silence = new Promise<"silent">((resolve) => setTimeout(() => resolve("silent"), ANSWER_MS_MAX));
    const answer = await Promise.race([page.evaluate(() => "answered"), silence]);
    process.kill(pid, "SIGCONT");
    if (answer === "silent") return pid;
  }
  throw new Error("no process runs the page");
}

async function renderersOf(processGroup: number): Promise<number[]> {
  const renderers: number[] = [];
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const [stat, command] = await Promise.all(
      ["stat", "cmdline"].map((file) => readFile(`/proc/${name}/${file}`, "utf8").catch(() => "")),
    );
    // After the name in brackets: state, parent, process group.
    const [, , group] = (stat ?? "").slice((stat ?? "").lastIndexOf(")") + 2).split(" ");
    if (Number(group) === processGroup && (command ?? "").includes("--type=renderer")) renderers.push(Number(name));
  }
  return renderers;
}
