/** What goes wrong around the engine: it is reported, and tried again in good time. */
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { Page } from "playwright-core";
import type { Command } from "../../src/messages.ts";
import type { OpenSpec } from "./pages/sync-driver.ts";
import { flushed, until, untilPhase, withStack } from "./stack.ts";

const SPEC: OpenSpec = { stores: [{ name: "notes", keyPath: "id" }] };

function put(page: Page, id: string): Promise<unknown> {
  return page.evaluate((row) => driver.run([{ ops: [["put", "notes", row]] }]), { id });
}

function codes(page: Page): Promise<string[]> {
  return page.evaluate(() => driver.heard.errors.map(({ code }) => code));
}

/** Runs the engine in a worker whose first attempts to open the database fail as those on a busy disk do. */
const FAILING_OPEN_WORKER = `
let failures = 2;
const { open } = IDBFactory.prototype;
IDBFactory.prototype.open = function (...args) {
  if (failures-- <= 0) return open.apply(this, args);
  const request = { error: new DOMException("Internal error opening backing store", "UnknownError") };
  queueMicrotask(() => request.onerror(new Event("error")));
  return request;
};
importScripts("/tidelock/worker.js");
`;

void test("a database that cannot be opened at the moment is opened later", { timeout: 60_000 }, async () => {
  await withStack({}, async (stack) => {
    await writeFile(join(stack.app, "failing-open.js"), FAILING_OPEN_WORKER);
    const page = await stack.client({ ...SPEC, workerUrl: "/failing-open.js" });
    await put(page, "a");
    await flushed(page);
    assert.deepEqual(await stack.state("notes"), { a: { id: "a" } });
    assert.deepEqual(await codes(page), ["storage-closed", "storage-closed"]);
  });
});

void test("a worker that cannot be made is made later, and not at once", { timeout: 60_000 }, async () => {
  await withStack({}, async (stack) => {
    const page = await (await stack.browser()).open(stack.url);
    await page.evaluate(() => {
      const attempts: number[] = [];
      const handler: ProxyHandler<typeof Worker> = {
        construct(native, args) {
          attempts.push(performance.now());
          // As for an address of another origin.
          if (attempts.length <= 2) throw new DOMException("no access to the script", "SecurityError");
          return Reflect.construct(native, args) as Worker;
        },
      };
      Object.assign(globalThis, { attempts, Worker: new Proxy(Worker, handler) });
    });
    await page.evaluate((spec) => driver.open(spec), SPEC);
    await put(page, "a");
    await flushed(page);
    assert.deepEqual(await stack.state("notes"), { a: { id: "a" } });
    assert.deepEqual(await codes(page), ["engine-failed", "engine-failed"]);
    const [first = NaN, second = NaN, third = NaN] = await page.evaluate(
      () => (globalThis as unknown as { attempts: number[] }).attempts,
    );
    assert.ok(second - first > 400 && third - second > 900, [first, second, third].join());
  });
});

/** An application that runs in a worker, where there is no document. */
const APPLICATION_WORKER = `
import "/driver.js";
onmessage = async ({ data }) => {
  await driver.open(data);
  await driver.run([{ ops: [["put", "notes", { id: "a" }]] }]);
  await driver.flush();
  postMessage("flushed");
};
postMessage("loaded");
`;

void test("an application in a worker is synced", { timeout: 60_000 }, async () => {
  await withStack({}, async (stack) => {
    await writeFile(join(stack.app, "application.js"), APPLICATION_WORKER);
    const page = await (await stack.browser()).open(stack.url);
    await page.evaluate((spec) => {
      const worker = new Worker("/application.js", { type: "module" });
      worker.onmessage = ({ data }) => {
        if (data === "loaded") worker.postMessage(spec);
        else Object.assign(globalThis, { said: data as string });
      };
    }, SPEC);
    await until(
      "the worker's writes are sent",
      () => page.evaluate(() => (globalThis as unknown as { said?: string }).said),
      (said) => said === "flushed",
    );
    assert.deepEqual(await stack.state("notes"), { a: { id: "a" } });
  });
});

void test("a token that never comes is asked for again", { timeout: 90_000 }, async () => {
  await withStack({}, async (stack) => {
    const page = await stack.client({ ...SPEC, silentTokens: 1 });
    await put(page, "a");
    await until(
      "the wait is reported",
      () => page.evaluate(() => driver.status.error?.message ?? ""),
      (message) => message.includes("no token"),
    );
    await flushed(page);
    assert.deepEqual(await stack.state("notes"), { a: { id: "a" } });
  });
});

void test("an address that is none is reported", { timeout: 60_000 }, async () => {
  await withStack({}, async (stack) => {
    const page = await stack.client({ ...SPEC, url: "ftp://nowhere/" });
    const { phase, error } = await until(
      "the failure shows",
      () => page.evaluate(() => driver.status),
      (status) => status.error !== null,
    );
    assert.equal(phase, "offline");
    assert.match(error?.message ?? "", /ftp/);
    await put(page, "a");
    await until(
      "the engine goes on",
      () => page.evaluate(() => driver.status.pending),
      (pending) => pending === 1,
    );
  });
});

void test("a page that comes back from the cache reads again", { timeout: 60_000 }, async () => {
  await withStack({}, async (stack) => {
    const page = await stack.client(SPEC);
    await untilPhase(page, "live");
    await page.evaluate(() => driver.observe("notes"));
    const observed = (): Promise<number> => page.evaluate(() => driver.observed.length);
    await until("the first result comes", observed, (results) => results === 1);
    await page.evaluate(() => dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true })));
    await until("another one comes", observed, (results) => results > 1);
    assert.deepEqual(await page.evaluate(() => driver.heard.changes), [
      { store: "notes", keys: null, origin: "remote" },
    ]);
  });
});

void test("what a tab wrote and told nobody is sent when the next tab comes", { timeout: 60_000 }, async () => {
  await withStack({}, async (stack) => {
    const browser = await stack.browser();
    const leader = await stack.page(browser, SPEC);
    await flushed(leader);
    const silent = await browser.open(stack.url);
    // As a tab does that ends between the commit and its event.
    await silent.evaluate(() => {
      const { postMessage } = BroadcastChannel.prototype;
      BroadcastChannel.prototype.postMessage = function (message: { readonly kind: string }) {
        if (message.kind !== "captured") postMessage.call(this, message);
      };
    });
    await silent.evaluate((spec) => driver.open(spec), SPEC);
    await until(
      "its hello was answered",
      () => silent.evaluate(() => driver.status.phase),
      (phase) => phase === "live",
    );
    await put(silent, "a");
    await flushed(leader);
    assert.deepEqual(await stack.state("notes"), { a: { id: "a" } }, "a flush looks for itself");
    await put(silent, "b");
    await silent.close();
    await stack.page(browser, SPEC);
    await until(
      "the write is sent",
      () => stack.state("notes"),
      (state) => JSON.stringify(state) === JSON.stringify({ a: { id: "a" }, b: { id: "b" } }),
    );
  });
});

void test("a flush that is asked for again and again is one flush", { timeout: 60_000 }, async () => {
  await withStack({}, async (stack) => {
    const page = await stack.client({ ...SPEC, offline: true });
    await untilPhase(page, "offline");
    await page.evaluate(() => {
      const channel = new BroadcastChannel("tidelock:app");
      const replies: string[] = [];
      channel.onmessage = ({ data }: MessageEvent<{ readonly kind: string; readonly id: string }>) => {
        if (data.kind === "reply") replies.push(data.id);
      };
      Object.assign(globalThis, { channel, replies });
    });
    const ask = (id: string, command: Command): Promise<void> =>
      page.evaluate(
        (message) => (globalThis as unknown as { channel: BroadcastChannel }).channel.postMessage(message),
        { kind: "command", id, command },
      );
    const replies = (): Promise<string[]> =>
      page.evaluate(() => (globalThis as unknown as { replies: string[] }).replies);
    for (let again = 0; again < 5; again++) await ask("flush", { name: "flush" });
    await page.evaluate(() => driver.online());
    await flushed(page);
    await ask("last", { name: "online", online: true });
    const all = await until("the last reply comes", replies, (ids) => ids.includes("last"));
    assert.equal(all.filter((id) => id === "flush").length, 1);
  });
});
