/** Documents go from the browser to Couchbase's own clients and back by themselves. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Page } from "playwright-core";
import { flushed, median, PATIENCE_MS, percentile, until, untilPhase } from "../browser/stack.ts";
import type { Stack } from "../browser/stack.ts";
import { ClientError, clientNames } from "./application.ts";
import type { Client } from "./application.ts";
import { onCouchbase } from "./cluster.ts";

const WRITES = 100;
/** Seconds until a document expires: more than a browser takes to show it. */
const BRIEF_S = 4;
const NOTES = { notes: "" };
const SPEC = { stores: [{ name: "notes", keyPath: "id" }] } as const;

const DOCUMENT = {
  id: "every-type",
  text: "Zoë 😀",
  small: 7,
  large: 3_000_000_000,
  half: 0.5,
  yes: true,
  none: null,
  nested: { city: "Köln", at: { x: 1, y: 2.5 } },
  mixed: [1, "two", [3], { four: 4 }, null, true],
};

/** A page that shows the store's rows. */
async function observer(stack: Stack, spec: Parameters<Stack["client"]>[0] = SPEC, store = "notes"): Promise<Page> {
  const page = await stack.client(spec);
  await untilPhase(page, "live");
  await page.evaluate((name) => driver.observe(name), store);
  return page;
}

/** Waits until the page shows these rows by itself, and its database has them. */
async function follows(page: Page, expected: readonly unknown[], store = "notes"): Promise<void> {
  const text = JSON.stringify(expected);
  const shown = (): Promise<unknown> => page.evaluate(() => driver.observed.at(-1));
  await until(`the page shows ${text}`, shown, (now) => JSON.stringify(now) === text);
  const rows = await page.evaluate((name) => driver.dump(name), store);
  assert.deepEqual(
    rows.map(([, row]) => row),
    expected,
  );
}

/** The client refuses a command in this way. */
async function refused(kind: string, command: Promise<unknown>): Promise<void> {
  await assert.rejects(command, (error) => error instanceof ClientError && error.kind === kind);
}

void test("all clients read what a browser writes, as plain JSON", { timeout: 120_000 }, async () => {
  const names = clientNames();
  await onCouchbase(
    NOTES,
    async ({ stack, clients }) => {
      const page = await stack.client(SPEC);
      await page.evaluate((row) => driver.run([{ ops: [["put", "notes", row]] }]), DOCUMENT);
      await flushed(page);
      // Nothing of ours is in it.
      for (const client of clients) assert.deepEqual(await client.get("notes", DOCUMENT.id), DOCUMENT, client.name);
      await page.evaluate(() => driver.run([{ ops: [["delete", "notes", "every-type"]] }]));
      await flushed(page);
      for (const client of clients) assert.equal(await client.get("notes", DOCUMENT.id), null, client.name);
    },
    names,
  );
});

/** Whole documents, conditions, parts of documents, removal. */
async function writes(page: Page, client: Client): Promise<void> {
  await follows(page, [{ id: "before", n: 1 }]);
  await client.insert("notes", "new", { id: "new", list: [1, { a: null }], deep: { a: 1, b: 1 } });
  await refused("exists", client.insert("notes", "new", { id: "new" }));
  await follows(page, [
    { id: "before", n: 1 },
    { id: "new", list: [1, { a: null }], deep: { a: 1, b: 1 } },
  ]);
  // Replaced as it was read; whoever read it before the browser's edit is refused.
  const read = await client.read("notes", "before");
  await client.replace("notes", "before", { id: "before", n: 2 }, read?.cas);
  await follows(page, [
    { id: "before", n: 2 },
    { id: "new", list: [1, { a: null }], deep: { a: 1, b: 1 } },
  ]);
  const stale = await client.read("notes", "before");
  await page.evaluate(() => driver.run([{ ops: [["put", "notes", { id: "before", n: 3 }]] }]));
  await flushed(page);
  await refused("cas-mismatch", client.replace("notes", "before", { id: "before", n: -1 }, stale?.cas));
  assert.deepEqual(await client.get("notes", "before"), { id: "before", n: 3 });
  await client.remove("notes", "before");
  await client.edit("notes", "new", ["upsert", "deep.b", 2], ["increment", "deep.a", 4], ["append", "list", "x"]);
  await client.edit("notes", "new", ["remove", "list[0]"]);
  await follows(page, [{ id: "new", list: [{ a: null }, "x"], deep: { a: 5, b: 2 } }]);
  // An edit of an offline browser keeps what a sub-document edit changes elsewhere in the document meanwhile.
  await page.evaluate(() => driver.offline());
  await untilPhase(page, "offline");
  await page.evaluate(() => driver.run([{ ops: [["put", "notes", { id: "new", list: [], deep: { a: 9, b: 2 } }]] }]));
  await client.edit("notes", "new", ["upsert", "deep.b", 8]);
  await page.evaluate(() => driver.online());
  await flushed(page);
  assert.deepEqual(await client.get("notes", "new"), { id: "new", list: [], deep: { a: 9, b: 8 } });
  await follows(page, [{ id: "new", list: [], deep: { a: 9, b: 8 } }]);
  // What is removed and stored again is a new document.
  await client.remove("notes", "new");
  await refused("not-found", client.replace("notes", "new", {}));
  await follows(page, []);
  await client.put("notes", "new", { id: "new", again: true });
  await follows(page, [{ id: "new", again: true }]);
}

for (const name of clientNames())
  void test(`a browser's rows and page follow what the client for ${name} does`, { timeout: 180_000 }, async () => {
    await onCouchbase(
      NOTES,
      async ({ stack, application: client }) => {
        await client.put("notes", "before", { id: "before", n: 1 });
        const page = await observer(stack);
        await writes(page, client);
        const changes = await page.evaluate(() => driver.heard.changes);
        assert.ok(changes.some(({ origin }) => origin === "remote"));
      },
      [name],
    );
  });

void test("a browser follows the counters of all clients, and they its edit of one", { timeout: 120_000 }, async () => {
  await onCouchbase(
    { counts: "" },
    async ({ stack, clients }) => {
      const page = await observer(stack, { stores: [{ name: "counts" }] }, "counts");
      let expected = 5;
      for (const client of clients) {
        const counted = await client.count("counts", "all", 2, 5);
        assert.equal(counted, expected, client.name);
        await follows(page, [expected], "counts");
        // The browser's number is a counter for the next one.
        await page.evaluate((n) => driver.run([{ ops: [["put", "counts", n, "all"]] }]), expected + 10);
        await flushed(page);
        expected += 12;
      }
    },
    clientNames(),
  );
});

void test("documents that expire go from the browser, whoever gave them their time", { timeout: 120_000 }, async () => {
  await onCouchbase(
    NOTES,
    async ({ stack, clients }) => {
      const page = await observer(stack);
      await Promise.all(
        clients.map(async (client) => {
          await client.put("notes", `${client.name} touched`, { id: `${client.name} touched` });
          await client.put("notes", `${client.name} kept`, { id: `${client.name} kept` }, BRIEF_S);
          await client.put("notes", `${client.name} brief`, { id: `${client.name} brief`, n: 1 }, BRIEF_S);
        }),
      );
      const rows = clients.flatMap(({ name }) => [
        { id: `${name} brief`, n: 1 },
        { id: `${name} kept` },
        { id: `${name} touched` },
      ]);
      await follows(
        page,
        rows.sort((one, other) => (one.id < other.id ? -1 : 1)),
      );
      for (const client of clients) {
        await client.touch("notes", `${client.name} touched`, BRIEF_S);
        await client.touch("notes", `${client.name} kept`, 0);
        // An edit of the browser keeps the expiry.
        const edited = { id: `${client.name} brief`, n: 2 };
        await page.evaluate((row) => driver.run([{ ops: [["put", "notes", row]] }]), edited);
      }
      await flushed(page);
      // The server removes a document when it is asked for it, or now and then.
      for (const client of clients)
        for (const which of ["brief", "touched"])
          await until(
            `${client.name} ${which} has expired`,
            () => client.get("notes", `${client.name} ${which}`),
            (document) => document === null,
          );
      const left = clients.map(({ name }) => ({ id: `${name} kept` }));
      await follows(
        page,
        left.sort((one, other) => (one.id < other.id ? -1 : 1)),
      );
    },
    clientNames(),
  );
});

void test("latency in both directions", { timeout: 300_000 }, async () => {
  await onCouchbase(
    NOTES,
    async ({ stack, clients }) => {
      const page = await observer(stack);
      for (const client of clients) {
        const toClient: number[] = [];
        for (let n = 0; n < WRITES; n++) {
          const row = { id: `to ${client.name}`, n };
          const at = await page.evaluate((given) => {
            const now = Date.now();
            return driver.run([{ ops: [["put", "notes", given]] }]).then(() => now);
          }, row);
          await until(
            `${client.name} reads ${n}`,
            () => client.get("notes", row.id),
            (document) => JSON.stringify(document) === JSON.stringify(row),
          );
          toClient.push(Date.now() - at);
        }
        await page.evaluate(() => driver.latencies.clear());
        for (let n = 0; n < WRITES; n++) {
          const id = `${client.name} ${n}`;
          await client.put("notes", id, { id, at: Date.now() });
          await page.waitForFunction((row) => driver.latencies.has(row), id, { polling: 5, timeout: PATIENCE_MS });
          await client.remove("notes", id);
        }
        const fromClient = await page.evaluate(() => [...driver.latencies.values()]);
        for (const [direction, latencies] of [
          [`browser's put to the get of ${client.name}`, toClient],
          [`the upsert of ${client.name} to the browser's page`, fromClient],
        ] as const) {
          assert.equal(latencies.length, WRITES);
          const figures = `median ${median(latencies)} ms, p99 ${percentile(latencies, 0.99)} ms`;
          console.log(`couchbase live: ${direction}: ${figures} of ${WRITES} writes`);
        }
      }
    },
    clientNames(),
  );
});
