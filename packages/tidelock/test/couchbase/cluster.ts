/**
 * A server over a Couchbase cluster, with Couchbase's own clients beside it as other applications. The cluster is the double, or
 * the one that `TIDELOCK_TEST_COUCHBASE=couchbase://user:password@host/bucket` names; each test has a scope of its own.
 */
import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { Stack } from "../browser/stack.ts";
import type { Given } from "../platform/given.ts";
import { Client, clientNames } from "./application.ts";
import type { Place } from "./application.ts";

/** What a test has. */
export interface OnCouchbase extends Given {
  /** The other applications. */
  readonly clients: readonly Client[];
  /** The first of them. */
  readonly application: Client;
}

/**
 * Runs a test body over a new scope with the collections, of which the configuration has these lines. Each name of a client is an
 * application that uses it.
 */
export async function onCouchbase(
  collections: Readonly<Record<string, string>>,
  body: (given: OnCouchbase) => Promise<void>,
  names: readonly string[] = clientNames().slice(0, 1),
): Promise<void> {
  const outside = process.env["TIDELOCK_TEST_COUCHBASE"] ?? "";
  const double = outside === "" ? await startDouble() : null;
  const clients: Client[] = [];
  try {
    const place = { ...parsed(double?.address ?? outside), scope: `test-${process.pid}-${Date.now()}` };
    const config = configuration(place, collections);
    await init(config);
    for (const name of names) clients.push(Client.start(name, place));
    const [application] = clients;
    if (application === undefined) throw new Error("there is no client of Couchbase");
    const stack = await Stack.start({ config });
    try {
      await body({ stack, clients, application });
    } finally {
      await stack.stop();
    }
  } finally {
    for (const client of clients) client.stop();
    double?.child.kill("SIGKILL");
  }
}

async function startDouble(): Promise<{ child: ChildProcess; address: string }> {
  const child = spawn(required("TIDELOCK_COUCHBASE_DOUBLE"), [], { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout });
  for await (const line of lines) {
    const { connection_string: address } = JSON.parse(line) as { connection_string: string };
    return { child, address };
  }
  throw new Error("the double of Couchbase ended before it said where it is");
}

function parsed(address: string): Omit<Place, "scope"> {
  const form = /^(couchbases?:\/\/)([^:@/]+):([^@]*)@([^/]+)(?:\/(.+))?$/.exec(address);
  const [, scheme, user, password, hosts, bucket = "default"] = form ?? [];
  if (scheme === undefined || user === undefined || password === undefined || hosts === undefined)
    throw new Error(`TIDELOCK_TEST_COUCHBASE is ${address}: expected couchbase://user:password@host/bucket`);
  return { hosts: scheme + hosts, user, password, bucket };
}

function configuration(place: Place, collections: Readonly<Record<string, string>>): string {
  const sections = Object.entries(collections).map(
    ([name, lines]) => `
[databases.app.collections.${name}]
read = 'identity.sub != ""'
write = 'identity.sub != ""'
${lines}`,
  );
  return `
[databases.app]
path = "app.db"

[databases.app.cluster]
kind = "couchbase"
addresses = ["${place.hosts}"]
node = "web-${process.pid}"
user = "${place.user}"
password = "${place.password}"

[databases.app.cluster.options]
bucket = "${place.bucket}"
scope = "${place.scope}"
${sections.join("")}`;
}

/** Creates the scope and its collections by the product's own command. */
async function init(config: string): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "tidelock-init-"));
  try {
    const file = join(folder, "tidelock.toml");
    await writeFile(file, config);
    await promisify(execFile)(required("TIDELOCK_BIN"), ["init", "--config", file]);
  } finally {
    await rm(folder, { recursive: true });
  }
}

function required(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set: run \`cargo xtask test --stage couchbase\``);
  return value;
}
