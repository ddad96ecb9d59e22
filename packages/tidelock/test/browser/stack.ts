/** The whole product for the tests of the sync: the server's binary, a network that can be cut and counted, browsers with the built package. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import type { Page } from "playwright-core";
import { launchChromium, removeProfile } from "./harness.ts";
import type { Chromium } from "./harness.ts";
import type { OpenSpec } from "./pages/sync-driver.ts";

/** How long a condition may take to come true, in milliseconds: generous, because the machine may be busy. */
export const PATIENCE_MS = 30_000;

/** A database whose notes are in the channels of their teams. */
export const TEAM_CHANNELS = `
[identity]
channels = 'identity.claims.teams.map(t, "team:" + t)'

[databases.app]
path = "app.db"

[databases.app.collections.notes]
read = 'identity.sub != ""'
channels = '["team:" + doc.team]'
write = 'identity.sub != ""'
`;

/** How a stack is set up. */
export interface StackOptions {
  /** Text of `tidelock.toml`; without it the databases `app` and `default` are served with open collections. */
  readonly config?: string;
  /** Databases with open collections, besides `app` and `default`. */
  readonly databases?: readonly string[];
}

/** A document as the server holds it. */
export interface ServerDocument {
  readonly key: string;
  readonly version: string;
  readonly value: unknown;
}

/** A running server with its pages. `stop` ends everything. */
export class Stack {
  readonly network: Network;
  /** Who reads the server's state: `name+team+team`. */
  reader: string = "ann";
  /** What the server has logged. */
  log: string = "";
  private readonly directory: string;
  private readonly options: StackOptions;
  private readonly browsers = new Set<Chromium>();
  private readonly profiles: string[] = [];
  private child: ChildProcess | null = null;

  private constructor(directory: string, options: StackOptions, network: Network) {
    this.directory = directory;
    this.options = options;
    this.network = network;
  }

  static async start(options: StackOptions = {}): Promise<Stack> {
    const directory = await mkdtemp(join(tmpdir(), "tidelock-stack-"));
    await makeApp(join(directory, "app"));
    if (options.config !== undefined) await writeFile(join(directory, "tidelock.toml"), options.config);
    const stack = new Stack(directory, options, await Network.start());
    await stack.startServer();
    return stack;
  }

  /** Address of the test page. It stays the same when the server starts again. */
  get url(): string {
    return `http://127.0.0.1:${this.network.port}/`;
  }

  /** Directory of the files that are served; tests may add to it. */
  get app(): string {
    return join(this.directory, "app");
  }

  /** Directory of the server's data, unless the configuration names another. */
  get data(): string {
    return join(this.directory, "data");
  }

  async startServer(): Promise<void> {
    const { config, databases = [] } = this.options;
    const { data } = this;
    const own = config === undefined ? ["--data", data] : ["--config", join(this.directory, "tidelock.toml")];
    const more = databases.flatMap((name) => ["--database", name]);
    const child = spawn(binary(), ["dev", "--port", "0", "--app", this.app, ...own, ...more], {
      cwd: this.directory,
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.child = child;
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.log += text;
      process.stderr.write(text);
    });
    this.network.target = await listeningPort(child);
  }

  /** Ends the server; with SIGKILL nothing is finished. */
  async stopServer(signal: "SIGTERM" | "SIGKILL" = "SIGTERM"): Promise<void> {
    const child = this.child;
    this.child = null;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    child.kill(signal);
    await exited;
  }

  /** Puts another configuration in force; the server does so soon after. */
  async reload(config: string): Promise<void> {
    await writeFile(join(this.directory, "tidelock.toml"), config);
    this.child?.kill("SIGHUP");
  }

  /** Starts a browser with a profile of its own, or with a given one. */
  async browser(profile?: string): Promise<Chromium> {
    const browser = await launchChromium({ profile: profile ?? (await this.profile()), plain: true });
    this.browsers.add(browser);
    return browser;
  }

  /** A fresh profile directory; removed at the end. */
  async profile(): Promise<string> {
    const profile = await mkdtemp(join(tmpdir(), "tidelock-profile-"));
    this.profiles.push(profile);
    return profile;
  }

  /** Opens the test page in a browser, and the database in it. */
  async page(browser: Chromium, spec: OpenSpec): Promise<Page> {
    const page = await browser.open(this.url);
    await page.evaluate((given) => driver.open(given), spec);
    return page;
  }

  /** A browser with a profile of its own and the database open in a page. */
  async client(spec: OpenSpec): Promise<Page> {
    return this.page(await this.browser(), spec);
  }

  async token(sub: string = this.reader): Promise<string> {
    const response = await fetch(`${this.url}v1/dev/token`, {
      method: "POST",
      body: JSON.stringify({ sub, claims: { teams: sub.split("+").slice(1) } }),
    });
    return ((await response.json()) as { token: string }).token;
  }

  /** A REST request to the server. */
  async rest(method: string, path: string, body?: string, headers: Record<string, string> = {}): Promise<Response> {
    const authorization = `Bearer ${await this.token()}`;
    return fetch(`${this.url}v1/db/${path}`, {
      method,
      headers: { authorization, ...headers },
      ...(body === undefined ? {} : { body }),
    });
  }

  /** Everything that the server holds of a collection, by rising key. */
  async documents(collection: string, database = "app"): Promise<ServerDocument[]> {
    const all: ServerDocument[] = [];
    for (let after: string | null = ""; after !== null;) {
      const query: string = after === "" ? "" : `&after=${encodeURIComponent(after)}`;
      const response = await this.rest(
        "GET",
        `${encodeURIComponent(database)}/${encodeURIComponent(collection)}?limit=1000${query}`,
      );
      // A collection that nobody has used.
      if (response.status === 404) return all;
      if (!response.ok) throw new Error(`the server answers ${response.status}: ${await response.text()}`);
      const page = (await response.json()) as { documents: ServerDocument[]; after: string | null };
      all.push(...page.documents);
      after = page.after;
    }
    return all;
  }

  /** What the server holds of a collection, by key. */
  async state(collection: string, database = "app"): Promise<Record<string, unknown>> {
    return Object.fromEntries((await this.documents(collection, database)).map(({ key, value }) => [key, value]));
  }

  async stop(): Promise<void> {
    await Promise.all([...this.browsers].map((browser) => browser.kill()));
    await this.stopServer("SIGKILL");
    await this.network.stop();
    for (const profile of this.profiles) await removeProfile(profile);
    await rm(this.directory, { recursive: true, force: true });
  }
}

/** Runs a test body with a stack and ends the stack whatever happens. */
export async function withStack(options: StackOptions, body: (stack: Stack) => Promise<void>): Promise<void> {
  const stack = await Stack.start(options);
  try {
    await body(stack);
  } finally {
    await stack.stop();
  }
}

/** A TCP relay in front of the server: its port stays when the server restarts, and it counts what the sync transfers. */
export class Network {
  readonly port: number;
  /** Port of the server. */
  target = 0;
  /** Bytes from and to the server on connections of the sync, HTTP handshakes included. */
  received = 0;
  sent = 0;
  /** Connections of the sync so far. */
  connections = 0;
  private readonly server: Server;
  private readonly open = new Map<Socket, { readonly far: Socket; sync: boolean }>();

  private constructor(server: Server) {
    this.server = server;
    this.port = (server.address() as AddressInfo).port;
    server.on("connection", (near) => this.relay(near));
  }

  static async start(): Promise<Network> {
    const server = createServer({ noDelay: true });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new Network(server);
  }

  /** Cuts every connection of the sync. */
  cut(): void {
    for (const [near, { sync }] of this.open) if (sync) near.destroy();
  }

  async stop(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    for (const near of this.open.keys()) near.destroy();
    await closed;
  }

  private relay(near: Socket): void {
    const far = connect({ port: this.target, host: "127.0.0.1", noDelay: true });
    const connection = { far, sync: false };
    this.open.set(near, connection);
    near.on("data", (bytes) => {
      if (!connection.sync && bytes.subarray(0, 13).toString("latin1") === "GET /v1/sync ") {
        connection.sync = true;
        this.connections++;
      }
      if (connection.sync) this.sent += bytes.length;
      far.write(bytes);
    });
    far.on("data", (bytes) => {
      if (connection.sync) this.received += bytes.length;
      near.write(bytes);
    });
    const end = (): void => {
      this.open.delete(near);
      near.destroy();
      far.destroy();
    };
    for (const socket of [near, far]) socket.on("close", end).on("error", end);
  }
}

/** Waits until a condition holds, asking again and again; the last answer is part of the failure. */
export async function until<T>(
  what: string,
  ask: () => Promise<T> | T,
  holds: (answer: T) => boolean,
  ms: number = PATIENCE_MS,
): Promise<T> {
  const deadline = Date.now() + ms;
  for (;;) {
    const answer = await ask();
    if (holds(answer)) return answer;
    if (Date.now() > deadline) throw new Error(`not within ${ms} ms: ${what}; the last answer was ${show(answer)}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Waits until the sync of a page has the phase. */
export async function untilPhase(page: Page, phase: string): Promise<void> {
  await until(
    `phase ${phase}`,
    () => page.evaluate(() => driver.status),
    (status) => status.phase === phase,
  );
}

/** The value that this part of the values does not exceed. */
export function percentile(values: readonly number[], part: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? NaN;
}

/** Waits until the server has confirmed everything that the page's database holds. */
export async function flushed(page: Page): Promise<void> {
  const state = { done: false };
  const flush = page.evaluate(() => driver.flush()).then(() => void (state.done = true));
  const late = until(
    "flush()",
    () => state.done,
    (done) => done,
  );
  try {
    await Promise.race([flush, late]);
  } catch (error) {
    const status = await page.evaluate(() => ({ status: driver.status, errors: driver.heard.errors }));
    throw new Error(`${error instanceof Error ? error.message : String(error)}; status ${show(status)}`, {
      cause: error,
    });
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}

function show(value: unknown): string {
  const text =
    JSON.stringify(value, (_, member: unknown) => (typeof member === "bigint" ? `${member}n` : member)) ??
    String(value);
  return text.length > 2000 ? `${text.slice(0, 2000)}…` : text;
}

function binary(): string {
  const path = process.env["TIDELOCK_BIN"];
  if (path === undefined || !existsSync(path))
    throw new Error("TIDELOCK_BIN must name the server's binary: run `cargo xtask test --stage browser`");
  return path;
}

/** The built browser package. */
export function distribution(): string {
  return process.env["TIDELOCK_DIST"] ?? fileURLToPath(new URL("../../dist", import.meta.url));
}

/** The page, its script, and the package beside it. */
async function makeApp(app: string): Promise<void> {
  await cp(distribution(), join(app, "tidelock"), { recursive: true });
  await makeScript("pages/sync-driver.ts", join(app, "driver.js"));
  await writeFile(join(app, "index.html"), page('<script type="module" src="/driver.js"></script>'));
}

/** An HTML document with an icon, so that the browser asks for none. */
export function page(body: string): string {
  return `<!doctype html><link rel="icon" href="data:,"><title>sync test</title>${body}`;
}

/** Bundles a page's module; the package stays a module of its own, as the worker and the WASM file lie beside it. */
export async function makeScript(script: string, outfile: string): Promise<void> {
  await build({
    entryPoints: [fileURLToPath(new URL(script, import.meta.url))],
    bundle: true,
    outfile,
    format: "esm",
    target: "es2022",
    logLevel: "warning",
    plugins: [
      {
        name: "package",
        setup(setup) {
          setup.onResolve({ filter: /^tidelock$/ }, () => ({ path: "/tidelock/index.js", external: true }));
          setup.onResolve({ filter: /^tidelock\/dexie$/ }, () => ({ path: "/tidelock/dexie.js", external: true }));
        },
      },
    ],
  });
}

function listeningPort(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    if (child.stdout === null) return reject(new Error("the server has no output"));
    child.once("exit", (code, signal) => reject(new Error(`the server ended with ${code ?? signal}`)));
    child.once("error", reject);
    createInterface({ input: child.stdout }).on("line", (line) => {
      const port = /^listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(line)?.[1];
      if (port !== undefined) resolve(Number(port));
    });
  });
}
