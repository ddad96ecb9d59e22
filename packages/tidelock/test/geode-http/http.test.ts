/** Geode 1.14.4 with its parts for HTTP: `init` creates what is missing, REST and gfsh share documents with a browser. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { flushed, median, PATIENCE_MS, percentile, Stack, until, untilPhase } from "../browser/stack.ts";
import { required } from "../geode/cluster.ts";

/** What `init` creates for the collection of these tests, in this order. */
const CREATED = ["/docs_tl", "/rates_tl", "/_tl_clients", "/_tl_intents", "/_tl_conflicts", "/_tl_state"];

function configuration(options: string): string {
  return `
[auth]
algorithms = ["HS256"]
secret = "0b4b7235229ae0cc777989ace3485896251610e28a316744ec85689202816931"

[databases.app]
path = "app.db"

[databases.app.cluster]
kind = "geode"
addresses = ["${required("TIDELOCK_TEST_GEODE")}"]
node = "http-${process.pid}"
names = { notes = "docs" }
${options}

[databases.app.collections.notes]
read = 'identity.sub != ""'
write = 'identity.sub != ""'

[databases.app.collections.rates]
read = 'identity.sub != ""'
write = 'identity.sub != ""'
`;
}

const withManager = (): string => `options = { manager = "${required("TIDELOCK_GEODE_MANAGER")}" }`;
/** Nobody listens there. */
const WITHOUT_MANAGER = 'options = { manager = "127.0.0.1:1" }';

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
}

/** Runs `tidelock init` or `tidelock doctor`. */
async function tool(command: "init" | "doctor", options: string): Promise<Outcome> {
  const directory = await mkdtemp(join(tmpdir(), "tidelock-init-"));
  try {
    const config = join(directory, "tidelock.toml");
    await writeFile(config, configuration(options));
    const child = spawn(required("TIDELOCK_BIN"), [command, "--config", config], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let stdout = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
    const code = await new Promise<number | null>((resolve, reject) =>
      child.once("close", resolve).once("error", reject),
    );
    return { code, stdout };
  } finally {
    await rm(directory, { recursive: true });
  }
}

/** These servers make objects of PDX instances, which is worth advice and no more. */
function assertReady({ code, stdout }: Outcome): void {
  assert.equal(code, 0, stdout);
  const advice = "app, on geode:\nadvice: the servers make Java objects of PDX instances (read-serialized is off): ";
  assert.ok(stdout.startsWith(advice) && !stdout.includes("wrong: "), stdout);
  assert.ok(stdout.includes("configure pdx --read-serialized=true --disk-store=DEFAULT"), stdout);
}

/** The answer of gfsh over HTTP to a command. The manager hears of a new region a moment after the servers have it, and says so. */
async function gfsh(command: string): Promise<string> {
  const url = `http://${required("TIDELOCK_GEODE_MANAGER")}/geode-mgmt/v1/management/commands`;
  return until(
    `the manager has heard of what "${command}" is about`,
    async () => {
      const response = await fetch(`${url}?cmd=${encodeURIComponent(command)}`, { method: "POST" });
      const text = await response.text();
      const isEarly = text.includes("jmx-manager-update-rate");
      const { status } = JSON.parse(text) as { status: string };
      assert.ok(isEarly || (response.ok && status === "OK"), `${command}: ${text}`);
      return isEarly ? "" : text;
    },
    (text) => text !== "",
  );
}

async function rest(method: string, path: string, document?: unknown): Promise<unknown> {
  const response = await fetch(`http://${required("TIDELOCK_GEODE_REST")}/geode/v1/${path}`, {
    method,
    headers: { "content-type": "application/json" },
    ...(document === undefined ? {} : { body: JSON.stringify(document) }),
  });
  const text = await response.text();
  assert.ok(response.ok, `${method} ${path}: ${response.status} ${text}`);
  return text === "" ? null : JSON.parse(text);
}

void test("init creates what is missing, and doctor says so", { timeout: 180_000 }, async () => {
  await gfsh("create region --name=rates --type=REPLICATE");
  const missing = `missing regions: ${CREATED.join(", ")}`;
  const before = await tool("doctor", withManager());
  assert.equal(before.code, 1);
  assert.ok(before.stdout.includes(missing), before.stdout);
  const script = "create region --name=docs_tl --type=PARTITION_PERSISTENT --redundant-copies=1 --colocated-with=/docs";
  assert.ok(before.stdout.includes(`  ${script} --total-num-buckets=7\n`), before.stdout);
  // Beside a region that every server has whole.
  assert.ok(before.stdout.includes("  create region --name=rates_tl --type=REPLICATE_PERSISTENT\n"), before.stdout);

  const alone = await tool("init", WITHOUT_MANAGER);
  assert.equal(alone.code, 1);
  assert.ok(alone.stdout.includes("no manager answers (127.0.0.1:1: "), alone.stdout);
  assert.ok(alone.stdout.includes(missing) && alone.stdout.includes(script), alone.stdout);

  const created = await tool("init", withManager());
  assertReady(created);
  const members = await gfsh("list regions");
  for (const path of CREATED) assert.ok(members.includes(`"${path.slice(1)}"`), members);
  // There is nothing to do.
  assertReady(await tool("init", withManager()));
  assertReady(await tool("doctor", WITHOUT_MANAGER));
});

void test(
  "doctor names a meta region that is not colocated, and init says what gfsh says",
  { timeout: 180_000 },
  async () => {
    await tool("init", withManager());
    await gfsh("destroy region --name=/docs_tl");
    await gfsh("create region --name=docs_tl --type=PARTITION_PERSISTENT --redundant-copies=1 --total-num-buckets=5");
    const apart = await tool("doctor", withManager());
    assert.equal(apart.code, 1);
    assert.ok(apart.stdout.includes("/docs_tl is not colocated with /docs"), apart.stdout);
    await gfsh("destroy region --name=/docs_tl");
    assert.equal((await tool("init", withManager())).code, 0);
  },
);

void test("REST and gfsh share documents with a browser", { timeout: 180_000 }, async () => {
  assertReady(await tool("init", withManager()));
  const stack = await Stack.start({ config: configuration(withManager()) });
  try {
    const page = await stack.client({ stores: [{ name: "notes" }, { name: "rates" }] });
    await untilPhase(page, "live");
    await page.evaluate(() => driver.observe("notes"));
    const rows = async (): Promise<Record<string, unknown>> =>
      Object.fromEntries(await page.evaluate(() => driver.dump("notes")));
    const follows = async (key: string, value: unknown): Promise<void> => {
      const text = JSON.stringify(value);
      await until(`${key} is ${text}`, rows, (all) => JSON.stringify(all[key]) === text);
      await until(
        "the page shows it",
        () => page.evaluate(() => driver.observed.at(-1)),
        (shown) => value === undefined || (shown ?? []).some((row) => JSON.stringify(row) === text),
      );
    };

    const document = {
      title: "Zoë 😀",
      n: 7,
      big: 3_000_000_000,
      half: 0.5,
      ok: true,
      none: null,
      list: [1, { a: [] }],
    };
    await page.evaluate((value) => driver.run([{ ops: [["put", "notes", value, "card"]] }]), document);
    await flushed(page);
    assert.deepEqual(await rest("GET", "docs/card"), document);
    const found = await rest("GET", `queries/adhoc?q=${encodeURIComponent("SELECT * FROM /docs d WHERE d.n = 7")}`);
    assert.deepEqual(found, [document]);
    assert.ok((await gfsh("get --region=/docs --key=card")).includes('\\"half\\":0.5'));
    const titles = await gfsh(`query --query="SELECT d.title AS title FROM /docs d WHERE d.big > 2999999999L"`);
    const table = JSON.parse(titles) as { content: { query: { content: unknown } } };
    assert.deepEqual(table.content.query.content, { title: [document.title] });

    await rest("PUT", "docs/rest", { by: "REST", list: [[1], 2] });
    await follows("rest", { by: "REST", list: [[1], 2] });
    await rest("PUT", "docs/card?op=REPLACE", { ...document, n: 8 });
    await follows("card", { ...document, n: 8 });
    await rest("DELETE", "docs/rest");
    await follows("rest", undefined);
    await gfsh("put --region=/docs --key=gfsh --value=hello");
    await follows("gfsh", "hello");
    await gfsh("remove --region=/docs --key=gfsh");
    await follows("gfsh", undefined);

    const ways = [
      ["REST's request", 50, (key: string, text: string): Promise<unknown> => rest("PUT", `docs/${key}`, { text })],
      ["gfsh's command", 10, (key: string, text: string) => gfsh(`put --region=/docs --key=${key} --value=${text}`)],
    ] as const;
    for (const [way, writes, write] of ways) {
      const latencies: number[] = [];
      for (let n = 0; n < writes; n++) {
        const [key, text] = [`latency-${n}`, `${way.slice(0, 4)}-${n}`];
        const start = Date.now();
        const [seen] = await Promise.all([
          page.waitForFunction(
            (wanted) => (JSON.stringify(driver.observed.at(-1)).includes(`"${wanted}"`) ? Date.now() : false),
            text,
            { polling: 5, timeout: PATIENCE_MS },
          ),
          write(key, text),
        ]);
        latencies.push(Number(await seen.jsonValue()) - start);
      }
      const figures = `median ${median(latencies)} ms, p99 ${percentile(latencies, 0.99)} ms`;
      console.log(`geode http: ${way} to the browser's page: ${figures} of ${writes} writes`);
      for (let n = 0; n < writes; n++) await rest("DELETE", `docs/latency-${n}`);
    }

    // And back: what a browser makes of a document of REST, REST reads.
    await page.evaluate(() => driver.run([{ ops: [["increment", "notes", "card", ["n"]]] }]));
    await flushed(page);
    assert.deepEqual(await rest("GET", "docs/card"), { ...document, n: 9 });
    await page.evaluate(() => driver.run([{ ops: [["delete", "notes", "card"]] }]));
    await flushed(page);
    assert.deepEqual(await rest("GET", "docs"), { docs: [] });

    // A replicated region, in one transaction with a partitioned one.
    await page.evaluate(() =>
      driver.run([
        {
          ops: [
            ["put", "rates", { n: 1 }, "eur"],
            ["put", "notes", { n: 1 }, "eur"],
          ],
        },
      ]),
    );
    await flushed(page);
    for (const region of ["rates", "docs"]) assert.deepEqual(await rest("GET", `${region}/eur`), { n: 1 });
    await rest("PUT", "rates/eur?op=REPLACE", { n: 2 });
    const isTwo = (all: [unknown, unknown][]): boolean => JSON.stringify(all) === '[["eur",{"n":2}]]';
    const rates = (): Promise<[unknown, unknown][]> => page.evaluate(() => driver.dump("rates"));
    await until("the rate of REST", rates, isTwo);

    // A region that is destroyed, and created again with other attributes.
    for (const region of ["rates_tl", "rates"]) await gfsh(`destroy region --name=/${region}`);
    const isHeard = (log: string): boolean => log.includes("the region of a collection was destroyed");
    await until("the server has heard of it", () => stack.log, isHeard);
    assertReady(await tool("init", withManager()));
    await until("the rates are gone", rates, (all) => all.length === 0);
    await rest("PUT", "rates/usd", { n: 3 });
    await until("a rate of the new region", rates, (all) => JSON.stringify(all) === '[["usd",{"n":3}]]');
  } finally {
    await stack.stop();
  }
});
