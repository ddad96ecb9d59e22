/**
 * A server over a Couchbase cluster, with Couchbase's own Node client beside it as another application. The cluster is the double, or
 * the one that `TIDELOCK_TEST_COUCHBASE=couchbase://user:password@host/bucket` names; each test has a scope of its own.
 */
import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { Stack } from "../browser/stack.ts";
import type { Application, Given } from "../platform/given.ts";

/** What is used of the package `couchbase`: it is not among this package's dependencies. */
interface Sdk {
  connect(address: string, options: { username: string; password: string }): Promise<SdkCluster>;
  readonly MutateInSpec: Record<"upsert" | "increment", (path: string, value: unknown) => object>;
  readonly CasMismatchError: new () => Error;
  readonly DocumentNotFoundError: new () => Error;
}

interface SdkCluster {
  bucket(name: string): { scope(name: string): { collection(name: string): SdkCollection } };
  close(): Promise<void>;
}

/** A collection as Couchbase's own client shows it. */
export interface SdkCollection {
  get(key: string): Promise<{ content: unknown; cas: object }>;
  upsert(key: string, document: unknown, options?: { expiry: number }): Promise<unknown>;
  replace(key: string, document: unknown, options: { cas: object }): Promise<unknown>;
  remove(key: string): Promise<unknown>;
  mutateIn(key: string, specs: readonly object[]): Promise<unknown>;
}

/** What a test has. */
export interface OnCouchbase extends Given {
  readonly sdk: Sdk;
  collection(name: string): SdkCollection;
}

/** Runs a test body over a new scope with the collections, of which the configuration has these lines. */
export async function onCouchbase(
  collections: Readonly<Record<string, string>>,
  body: (given: OnCouchbase) => Promise<void>,
): Promise<void> {
  const sdk = createRequire(required("TIDELOCK_JUDGE_NODE"))("couchbase") as Sdk;
  const outside = process.env["TIDELOCK_TEST_COUCHBASE"] ?? "";
  const double = outside === "" ? await startDouble() : null;
  try {
    const place = { ...parsed(double?.address ?? outside), scope: `test-${process.pid}-${Date.now()}` };
    const config = configuration(place, collections);
    await init(config);
    const { user: username, password } = place;
    const cluster = await sdk.connect(place.hosts, { username, password });
    try {
      const scope = cluster.bucket(place.bucket).scope(place.scope);
      const collection = (name: string): SdkCollection => scope.collection(name);
      const stack = await Stack.start({ config });
      try {
        await body({ stack, sdk, collection, application: applicationOf(sdk, collection) });
      } finally {
        await stack.stop();
      }
    } finally {
      await cluster.close();
    }
  } finally {
    double?.child.kill("SIGKILL");
  }
}

function applicationOf(sdk: Sdk, collection: (name: string) => SdkCollection): Application {
  return {
    get: (name, key) => found(sdk, collection(name), key),
    put: async (name, key, document) => void (await collection(name).upsert(key, document)),
    remove: async (name, key) => void (await collection(name).remove(key)),
  };
}

/** A document; `null` when there is none. */
export async function found(sdk: Sdk, collection: SdkCollection, key: string): Promise<unknown> {
  try {
    return (await collection.get(key)).content;
  } catch (error) {
    if (error instanceof sdk.DocumentNotFoundError) return null;
    throw error;
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

interface Place {
  readonly hosts: string;
  readonly user: string;
  readonly password: string;
  readonly bucket: string;
  readonly scope: string;
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
