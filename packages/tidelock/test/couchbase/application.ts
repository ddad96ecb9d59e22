/**
 * Other applications of a cluster: programs that use it by Couchbase's own clients (`crates/couchbase-double/judges`, the programs named
 * `application`), one command at a time. The stage names the programs.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import type { Interface } from "node:readline";
import type { Application } from "../platform/given.ts";

/** How a program is called, by the name of its client: JSON. */
const PROGRAMS = "TIDELOCK_COUCHBASE_APPLICATIONS";
/** Characters of a program's log that are told when it ends. */
const LOG_KEPT = 10_000;

/** Where the collections are. */
export interface Place {
  /** A connection string without user and bucket. */
  readonly hosts: string;
  readonly user: string;
  readonly password: string;
  readonly bucket: string;
  readonly scope: string;
}

/** A part of a sub-document edit. */
export type Spec =
  | readonly ["upsert" | "append", path: string, value: unknown]
  | readonly ["increment", path: string, delta: number]
  | readonly ["remove", path: string];

/** One command, and what it is about. Members of an expiry are seconds from now; those of 0 are none. */
type Command =
  | { readonly do: "get" | "remove" }
  | { readonly do: "insert"; readonly document: unknown }
  | { readonly do: "upsert"; readonly document: unknown; readonly expiry_s?: number }
  | { readonly do: "replace"; readonly document: unknown; readonly cas?: string }
  | { readonly do: "touch"; readonly expiry_s: number }
  | { readonly do: "edit"; readonly specs: readonly Spec[] }
  /** A counter, which is a document that is a number. */
  | { readonly do: "count"; readonly delta: number; readonly initial: number }
  /** Adds one to members, so often, by reading and replacing with CAS. */
  | { readonly do: "add"; readonly members: readonly string[]; readonly times: number };

/** What a program answers. */
type Answer = { readonly ok: unknown } | { readonly error: string; readonly message: string };

/** How the client failed: `not-found`, `exists`, `cas-mismatch` or `other`. */
export class ClientError extends Error {
  readonly kind: string;

  constructor(kind: string, message: string) {
    super(message);
    this.kind = kind;
  }
}

/** The names of the clients that the stage has programs of. */
export function clientNames(): string[] {
  return Object.keys(programs());
}

function programs(): Record<string, string[]> {
  const text = process.env[PROGRAMS];
  if (text === undefined) throw new Error(`${PROGRAMS} is not set: run \`cargo xtask test --stage couchbase\``);
  return JSON.parse(text) as Record<string, string[]>;
}

/** An application that uses one client. */
export class Client implements Application {
  readonly name: string;
  private readonly child: ChildProcess;
  private readonly waiting: { resolve(value: unknown): void; reject(error: Error): void }[] = [];

  private constructor(name: string, child: ChildProcess, lines: Interface) {
    this.name = name;
    this.child = child;
    lines.on("line", (line) => {
      const answer = JSON.parse(line) as Answer;
      const command = this.waiting.shift();
      if ("error" in answer) command?.reject(new ClientError(answer.error, `${name}: ${answer.message}`));
      else command?.resolve(answer.ok);
    });
    let log = "";
    child.stderr?.setEncoding("utf8").on("data", (text: string) => (log = (log + text).slice(-LOG_KEPT)));
    child.once("exit", (code, signal) => {
      for (const { reject } of this.waiting.splice(0))
        reject(new Error(`the application of ${name} ended with ${code ?? signal}: ${log}`));
    });
  }

  static start(name: string, { hosts, user, password, bucket, scope }: Place): Client {
    const [program, ...words] = programs()[name] ?? [];
    if (program === undefined) throw new Error(`there is no program of the client ${name}`);
    const child = spawn(program, [...words, hosts, user, password, bucket, scope], { stdio: ["pipe", "pipe", "pipe"] });
    if (child.stdout === null) throw new Error("the application has no output");
    return new Client(name, child, createInterface({ input: child.stdout }));
  }

  stop(): void {
    this.child.kill("SIGKILL");
  }

  /** A document with its CAS; `null` when there is none. */
  async read(collection: string, key: string): Promise<{ document: unknown; cas: string } | null> {
    try {
      return (await this.run(collection, key, { do: "get" })) as { document: unknown; cas: string };
    } catch (error) {
      if (error instanceof ClientError && error.kind === "not-found") return null;
      throw error;
    }
  }

  async get(collection: string, key: string): Promise<unknown> {
    return (await this.read(collection, key))?.document ?? null;
  }

  async put(collection: string, key: string, document: unknown, expiry_s = 0): Promise<void> {
    await this.run(collection, key, { do: "upsert", document, expiry_s });
  }

  async insert(collection: string, key: string, document: unknown): Promise<void> {
    await this.run(collection, key, { do: "insert", document });
  }

  /** Without a CAS whatever is there is replaced. */
  async replace(collection: string, key: string, document: unknown, cas?: string): Promise<void> {
    await this.run(collection, key, { do: "replace", document, ...(cas === undefined ? {} : { cas }) });
  }

  async remove(collection: string, key: string): Promise<void> {
    await this.run(collection, key, { do: "remove" });
  }

  async touch(collection: string, key: string, expiry_s: number): Promise<void> {
    await this.run(collection, key, { do: "touch", expiry_s });
  }

  async edit(collection: string, key: string, ...specs: readonly Spec[]): Promise<void> {
    await this.run(collection, key, { do: "edit", specs });
  }

  /** The counter after the change. */
  async count(collection: string, key: string, delta: number, initial: number): Promise<number> {
    return (await this.run(collection, key, { do: "count", delta, initial })) as number;
  }

  /** Adds one to members, so often; how often somebody else was faster. */
  async add(collection: string, key: string, members: readonly string[], times: number): Promise<number> {
    return (await this.run(collection, key, { do: "add", members, times })) as number;
  }

  private run(collection: string, key: string, command: Command): Promise<unknown> {
    const answer = new Promise<unknown>((resolve, reject) => this.waiting.push({ resolve, reject }));
    this.child.stdin?.write(`${JSON.stringify({ ...command, collection, key })}\n`);
    return answer;
  }
}
