/** A server over a real Geode cluster, with a Java application beside it. The stage `geode` starts the cluster and names it. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import type { Interface } from "node:readline";
import { Stack } from "../browser/stack.ts";

/** The regions of the test cluster that these tests use; beside each is the one of its metas. */
export const REGIONS = ["docs", "people", "suite1", "suite2", "suite3", "suite4", "suite5"] as const;
const SYSTEM = ["_tl_clients", "_tl_intents", "_tl_conflicts", "_tl_state"];

/** Characters of the Java application's log that are told when it ends. */
const LOG_KEPT = 10_000;

export type RegionName = (typeof REGIONS)[number];

/** A collection of the database: the region that holds it, and lines of its configuration. */
export interface CollectionSpec {
  readonly region: RegionName;
  readonly config?: string;
}

/** The Java application: `Foreign.java` lists its commands. */
export class Java {
  private readonly child: ChildProcess;
  private readonly waiting: { resolve(text: string): void; reject(error: Error): void }[] = [];

  private constructor(child: ChildProcess, lines: Interface) {
    this.child = child;
    lines.on("line", (line) => {
      const [verdict, text = ""] = line.split("\t");
      const command = this.waiting.shift();
      if (verdict === "ok") command?.resolve(text);
      else command?.reject(new Error(text));
    });
    let log = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => (log = (log + text).slice(-LOG_KEPT)));
    child.once("exit", (code) => {
      for (const { reject } of this.waiting.splice(0))
        reject(new Error(`the Java application ended (${code}): ${log}`));
    });
  }

  static start(): Java {
    const [program = "java", ...words] = JSON.parse(required("TIDELOCK_GEODE_JAVA")) as string[];
    const child = spawn(program, [...words, String(process.pid)], { stdio: ["pipe", "pipe", "pipe"] });
    if (child.stdout === null) throw new Error("the Java application has no output");
    return new Java(child, createInterface({ input: child.stdout }));
  }

  /** Gives a command, and waits for the answer. Commands are carried out one after the other. */
  run(...words: string[]): Promise<string> {
    if (words.some((word) => /[\t\n]/.test(word))) throw new Error("a word holds a tab or the end of a line");
    const answer = new Promise<string>((resolve, reject) => this.waiting.push({ resolve, reject }));
    this.child.stdin?.write(`${words.join("\t")}\n`);
    return answer;
  }

  /** What a document is to Java, by its `JSONFormatter`; `null` when there is none. */
  async get(region: RegionName, key: string): Promise<unknown> {
    const shown = await this.run("get", region, key);
    if (shown === "null") return null;
    return JSON.parse(shown.replace(/^__GEMFIRE_JSON /, "").replace(/^\S+ (?=[{[])/, ""));
  }

  async put(region: RegionName, key: string, document: unknown): Promise<void> {
    await this.run("put-json", region, key, JSON.stringify(document));
  }

  stop(): void {
    this.child.kill("SIGKILL");
  }
}

/** What a test has. */
export interface OnGeode {
  readonly stack: Stack;
  readonly java: Java;
}

/**
 * Empties the regions, and runs a test body with a server whose database `app` has the collections; ends both whatever happens.
 * `before` is what Java does before there is a server.
 */
export async function onGeode(
  collections: Readonly<Record<string, CollectionSpec>>,
  body: (given: OnGeode) => Promise<void>,
  before: (java: Java) => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  const java = Java.start();
  try {
    await java.run("empty", ...REGIONS.flatMap((name) => [name, `${name}_tl`]), ...SYSTEM);
    await before(java);
    const stack = await Stack.start({ config: configuration(collections) });
    try {
      await body({ stack, java });
    } finally {
      await stack.stop();
    }
  } finally {
    java.stop();
  }
}

function configuration(collections: Readonly<Record<string, CollectionSpec>>): string {
  const names = Object.entries(collections).map(([name, { region }]) => `${name} = "${region}"`);
  // A queue under another name for each server: what one of another test left is nobody's.
  const node = `web-${process.pid}-${Date.now()}`;
  return `
[databases.app]
path = "app.db"

[databases.app.cluster]
kind = "geode"
addresses = ["${required("TIDELOCK_TEST_GEODE")}"]
node = "${node}"
names = { ${names.join(", ")} }
options = { queue_kept_s = "10" }
${Object.entries(collections)
  .map(
    ([name, { config = "" }]) => `
[databases.app.collections.${name}]
read = 'identity.sub != ""'
write = 'identity.sub != ""'
${config}`,
  )
  .join("")}`;
}

/** A variable that the stage sets. */
export function required(name: string): string {
  const value = process.env[name];
  if (value === undefined) throw new Error(`${name} is not set: run \`cargo xtask test --stage geode\``);
  return value;
}
