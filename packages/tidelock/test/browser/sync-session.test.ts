/** The life of a session: refused tokens, a server that goes and comes back, channels, signing out, a full disk. */
import assert from "node:assert/strict";
import { cp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { Page } from "playwright-core";
import type { OpenSpec } from "./pages/sync-driver.ts";
import { flushed, TEAM_CHANNELS, until, untilPhase, withStack } from "./stack.ts";

const SPEC: OpenSpec = { stores: [{ name: "notes", keyPath: "id" }] };

async function put(page: Page, ...ids: string[]): Promise<void> {
  const outcomes = await page.evaluate(
    (rows) => driver.run(rows.map((id) => ({ ops: [["put", "notes", { id }]] }))),
    ids,
  );
  assert.ok(
    outcomes.every((failure) => failure === null),
    String(outcomes),
  );
}

async function keys(page: Page): Promise<unknown[]> {
  return (await page.evaluate(() => driver.dump("notes"))).map(([key]) => key);
}

void test("a refused token is reported, and nothing is lost", { timeout: 60_000 }, async () => {
  await withStack({}, async (stack) => {
    const page = await stack.client({ ...SPEC, user: null });
    await put(page, "a");
    const status = await until(
      "the refusal shows",
      () => page.evaluate(() => driver.status),
      ({ error }) => error !== null,
    );
    assert.equal(status.error?.code, "unauthenticated");
    assert.equal(status.phase, "offline");
    assert.equal(status.pending, 1);
    assert.deepEqual(await stack.state("notes"), {});
    await page.reload();
    await page.evaluate((spec) => driver.open(spec), SPEC);
    await flushed(page);
    assert.deepEqual(await stack.state("notes"), { a: { id: "a" } });
    assert.equal((await page.evaluate(() => driver.status)).error, null);
  });
});

void test("the server is killed, is away, and comes back", { timeout: 90_000 }, async () => {
  await withStack({}, async (stack) => {
    const a = await stack.client(SPEC);
    const b = await stack.client({ ...SPEC, user: "bob" });
    await put(a, "before");
    await flushed(a);
    await stack.stopServer("SIGKILL");
    await untilPhase(a, "offline");
    await put(a, "away-a");
    await put(b, "away-b");
    assert.equal((await page(a)).pending, 1);
    await stack.startServer();
    for (const one of [a, b]) await flushed(one);
    for (const one of [a, b])
      await until(
        "both have all",
        () => keys(one),
        (all) => all.length === 3,
      );
    assert.deepEqual(Object.keys(await stack.state("notes")), ["away-a", "away-b", "before"]);

    stack.network.cut();
    await put(a, "cut");
    await until(
      "the other hears of it",
      () => keys(b),
      (all) => all.includes("cut"),
    );
    assert.deepEqual(await a.evaluate(() => driver.rejected()), []);
  });

  function page(one: Page): Promise<{ pending: number }> {
    return one.evaluate(() => driver.status);
  }
});

void test("channels come and go at run time", { timeout: 60_000 }, async () => {
  await withStack({ config: TEAM_CHANNELS }, async (stack) => {
    stack.reader = "root+red+blue+green";
    const all = await stack.client({ ...SPEC, user: stack.reader });
    await all.evaluate(() =>
      driver.run(["red", "blue", "green"].map((team) => ({ ops: [["put", "notes", { id: team, team }]] }))),
    );
    await flushed(all);
    const some = await stack.client({ ...SPEC, user: "ann+red+blue", channels: ["team:red"] });
    await flushed(some);
    assert.deepEqual(await keys(some), ["red"]);
    await some.evaluate(() => driver.subscribe(["team:blue"]));
    await until(
      "the channel's documents come",
      () => keys(some),
      (rows) => rows.join() === "blue,red",
    );
    await some.evaluate(() => driver.subscribe(["team:green"]));
    await some.evaluate(() => driver.unsubscribe(["team:red"]));
    await until(
      "the channel's documents leave this device",
      () => keys(some),
      (rows) => rows.join() === "blue",
    );
    await flushed(some);
    assert.deepEqual(Object.keys(await stack.state("notes")), ["blue", "green", "red"], "and stay on the server");
    assert.deepEqual(await keys(all), ["blue", "green", "red"]);
  });
});

/** `members` opens channels to the users that it names; only root writes it. */
const GRANTS = `
[auth]
algorithms = ["HS256"]
secret = "0b4b7235229ae0cc777989ace3485896251610e28a316744ec85689202816931"

[databases.app]
path = "app.db"

[databases.app.collections.notes]
read = 'identity.sub != ""'
channels = '["team:" + doc.team]'
write = 'identity.sub != ""'

[databases.app.collections.plain]
read = 'identity.sub != ""'
write = 'identity.sub != ""'

[databases.app.collections.members]
read = 'identity.sub == "root"'
write = 'identity.sub == "root"'
grant = { subjects = '[doc.user]', channels = 'doc.opens' }
`;

/** The time within which what was revoked leaves a device that is connected, in milliseconds. */
const REVOKED_MS_MAX = 1_000;

void test("what is revoked leaves the database of a live page within a second", { timeout: 90_000 }, async () => {
  await withStack({ config: GRANTS }, async (stack) => {
    stack.reader = "root";
    const store = async (path: string, value: unknown): Promise<void> => {
      const response = await stack.rest("PUT", `app/${path}`, JSON.stringify(value));
      assert.ok(response.ok, await response.text());
    };
    for (const id of ["n1", "n2", "n3"]) await store(`notes/${id}`, { id, team: "red" });
    await store("plain/p", { id: "p" });
    await store("members/m", { user: "ann", opens: ["team:red"] });
    const stores = ["notes", "plain"].map((name) => ({ name, keyPath: "id" }));
    const ann = await stack.client({ stores, user: "ann" });
    await flushed(ann);
    const rows = (name: string): Promise<unknown[]> =>
      ann.evaluate(async (asked) => (await driver.dump(asked)).map(([key]) => key), name);
    await until(
      "the rows come",
      () => rows("notes"),
      (all) => all.length === 3,
    );
    /** Does it, and waits until the rows of the store are gone from IndexedDB; how long that took, in milliseconds. */
    const goneAfter = async (name: string, revoke: () => Promise<void>): Promise<number> => {
      const start = Date.now();
      await revoke();
      await until(
        `${name} is purged`,
        () => rows(name),
        (all) => all.length === 0,
      );
      return Date.now() - start;
    };
    const byDocument = await goneAfter("notes", async () => {
      assert.ok((await stack.rest("DELETE", "app/members/m")).ok);
    });
    assert.deepEqual(await rows("plain"), ["p"], "what may still be read stays");
    const plain = "[databases.app.collections.plain]\nread = 'identity.sub ";
    assert.ok(GRANTS.includes(`${plain}!= ""'`));
    const byRules = await goneAfter("plain", () =>
      stack.reload(GRANTS.replace(`${plain}!= ""'`, `${plain}== "root"'`)),
    );
    console.log(`gone after ${byDocument} ms (the granting document), ${byRules} ms (the rules)`);
    for (const ms of [byDocument, byRules]) assert.ok(ms < REVOKED_MS_MAX, `${ms} ms`);
    assert.deepEqual(Object.keys(await stack.state("plain")), ["p"], "nothing was pushed as a delete");
    assert.equal((await ann.evaluate(() => driver.status)).pending, 0);
    await store("members/m", { user: "ann", opens: ["team:red"] });
    await until(
      "the documents of the team exist, and come back",
      () => rows("notes"),
      (all) => all.length === 3,
    );
  });
});

void test(
  "a collection that the server no longer has leaves the device, and its unsent edits are listed",
  {
    timeout: 60_000,
  },
  async () => {
    await withStack({ config: GRANTS }, async (stack) => {
      const without = GRANTS.replace(/\[databases\.app\.collections\.plain\][^[]*/u, "");
      assert.ok(!without.includes("plain"));
      const ann = await stack.client({
        stores: ["notes", "plain"].map((name) => ({ name, keyPath: "id" })),
        user: "ann",
      });
      const rows = (): Promise<unknown[]> =>
        ann.evaluate(async () => (await driver.dump("plain")).map(([, row]) => row));
      const puts = (...all: unknown[]): Promise<unknown> =>
        ann.evaluate((values) => driver.run(values.map((value) => ({ ops: [["put", "plain", value]] }))), all);
      await puts({ id: "edited", by: "all" }, { id: "other" });
      await flushed(ann);
      await ann.evaluate(() => driver.offline());
      await puts({ id: "edited", by: "ann" }, { id: "new" });
      await stack.reload(without);
      await until(
        "the collection is gone from the server",
        () => stack.rest("GET", "app/plain"),
        (response) => response.status === 404,
      );
      await ann.evaluate(() => driver.online());
      await until("what was confirmed is forgotten, what was never sent stays", rows, (all) => all.length === 1);
      assert.deepEqual(await rows(), [{ id: "new" }]);
      const [entry, ...more] = await ann.evaluate(() => driver.rejected());
      assert.deepEqual(entry?.documents, [{ store: "plain", key: "edited", mine: { id: "edited", by: "ann" } }]);
      assert.deepEqual(more, []);
      await ann.reload();
      await ann.evaluate((spec) => driver.open(spec), {
        ...SPEC,
        stores: ["notes", "plain"].map((name) => ({ name, keyPath: "id" })),
        user: "ann",
      });
      assert.deepEqual(await rows(), [{ id: "new" }], "and so it is after a reload");
      stack.reader = "root";
      await stack.reload(GRANTS);
      await until(
        "it is back, and what was never sent arrives",
        () => stack.state("plain"),
        (all) => Object.keys(all).length === 3,
      );
      assert.deepEqual(await stack.state("plain"), {
        edited: { id: "edited", by: "all" },
        new: { id: "new" },
        other: { id: "other" },
      });
      await until("and the device has all of it again", rows, (all) => all.length === 3);
    });
  },
);

void test("signing out stops every tab, and can wipe", { timeout: 60_000 }, async () => {
  await withStack({}, async (stack) => {
    const browser = await stack.browser();
    const first = await stack.page(browser, SPEC);
    const second = await stack.page(browser, SPEC);
    await put(first, "a");
    for (const tab of [first, second]) await flushed(tab);
    await second.evaluate(() => driver.signOut(true));
    await untilPhase(first, "stopped");
    await untilPhase(second, "stopped");
    assert.deepEqual(await second.evaluate(async () => (await indexedDB.databases()).map(({ name }) => name)), []);
    assert.deepEqual(await stack.state("notes"), { a: { id: "a" } }, "nothing was pushed as a delete");
    const connections = stack.network.connections;
    await second.reload();
    await second.evaluate((spec) => driver.open(spec), SPEC);
    await flushed(second);
    assert.deepEqual(await keys(second), ["a"], "signing in again brings the rows back");
    assert.equal(stack.network.connections, connections + 1);
  });
});

void test("an engine that cannot be loaded is started when it can", { timeout: 60_000 }, async () => {
  await withStack({}, async (stack) => {
    const page = await stack.client({ ...SPEC, wasmUrl: "/late/core.wasm" });
    await put(page, "a");
    const codes = (): Promise<string[]> => page.evaluate(() => driver.heard.errors.map(({ code }) => code));
    await until("the failure is reported", codes, (all) => all.includes("engine-failed"));
    assert.deepEqual(await stack.state("notes"), {});
    await cp(join(stack.app, "tidelock", "tidelock_core_bg.wasm"), join(stack.app, "late", "core.wasm"));
    await flushed(page);
    assert.deepEqual(await stack.state("notes"), { a: { id: "a" } });
  });
});

/** Runs the engine with a core that traps at the first step of a task. */
const TRAPPING_WORKER = `
const trap = new WebAssembly.Instance(new WebAssembly.Module(Uint8Array.of(
  0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, // the header
  1, 4, 1, 0x60, 0, 0, // a type: nothing to nothing
  3, 2, 1, 0, // a function of it
  7, 5, 1, 1, 0x66, 0, 0, // exported as f
  10, 5, 1, 3, 0, 0, 0x0b, // unreachable
))).exports.f;
const native = WebAssembly.instantiateStreaming;
WebAssembly.instantiateStreaming = async (...args) => {
  const { instance, module } = await native.apply(WebAssembly, args);
  return { module, instance: { exports: { ...instance.exports, step: trap } } };
};
importScripts("/tidelock/worker.js");
`;

void test("a core that traps is reported with its build, and another one goes on", { timeout: 60_000 }, async () => {
  await withStack({}, async (stack) => {
    await writeFile(join(stack.app, "worker.js"), TRAPPING_WORKER);
    const page = await stack.client({ ...SPEC, workerUrl: "/worker.js" });
    await put(page, "a");
    const failures = (): Promise<string[]> =>
      page.evaluate(() => driver.heard.errors.map(({ code, message }) => `${code}: ${message}`));
    const [failure] = await until("the trap is reported", failures, (all) => all.length > 0);
    assert.match(
      String(failure),
      /^engine-failed: the core stopped \(tidelock \S+, core [0-9a-f]{12}\): unreachable \| /,
    );
    assert.deepEqual(await stack.state("notes"), {});
    await writeFile(join(stack.app, "worker.js"), 'importScripts("/tidelock/worker.js");');
    await flushed(page);
    assert.deepEqual(await stack.state("notes"), { a: { id: "a" } });
    assert.ok(
      (await failures()).every((one) => one.startsWith("engine-failed: the core stopped (")),
      "each trap once",
    );
  });
});

/** Runs the engine with a disk that is full while `full` was said last on the channel `disk`: as the browser does it, the transaction aborts. */
const FULL_DISK_WORKER = `
let full = false;
new BroadcastChannel("disk").onmessage = (event) => { full = event.data === "full"; };
const doomed = new WeakSet();
const { put, add } = IDBObjectStore.prototype;
const { commit } = IDBTransaction.prototype;
const error = Object.getOwnPropertyDescriptor(IDBTransaction.prototype, "error").get;
const write = (native) => function (...args) {
  if (full) doomed.add(this.transaction);
  return native.apply(this, args);
};
IDBObjectStore.prototype.put = write(put);
IDBObjectStore.prototype.add = write(add);
IDBTransaction.prototype.commit = function () {
  if (doomed.has(this)) this.abort();
  else commit.call(this);
};
Object.defineProperty(IDBTransaction.prototype, "error", { get() {
  return doomed.has(this) ? new DOMException("the disk is full", "QuotaExceededError") : error.call(this);
} });
importScripts("/tidelock/worker.js");
`;

void test("a full disk is reported, and nothing is lost when there is room again", { timeout: 90_000 }, async () => {
  await withStack({}, async (stack) => {
    await writeFile(join(stack.app, "disk-worker.js"), FULL_DISK_WORKER);
    const a = await stack.client(SPEC);
    const b = await stack.client({ ...SPEC, user: "bob", workerUrl: "/disk-worker.js" });
    await put(b, "mine");
    await flushed(b);
    const disk = (state: string): Promise<void> =>
      b.evaluate((said) => new BroadcastChannel("disk").postMessage(said), state);
    await disk("full");
    await put(a, ...Array.from({ length: 50 }, (_, id) => `remote-${id}`));
    await flushed(a);
    const reported = (): Promise<string[]> => b.evaluate(() => driver.heard.errors.map(({ code }) => code));
    await until("the full disk is reported", reported, (codes) => codes.includes("storage-full"));
    assert.deepEqual(await keys(b), ["mine"]);
    await put(b, "meanwhile");
    await disk("free");
    await flushed(b);
    await until(
      "the changes are stored",
      () => keys(b),
      (all) => all.length === 52,
    );
    assert.equal(Object.keys(await stack.state("notes")).length, 52);
    assert.deepEqual(await b.evaluate(() => driver.rejected()), []);
  });
});
