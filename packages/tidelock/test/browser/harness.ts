/** Shared by the tests and benches that run in a real browser: bundles a page script, serves it, runs Chromium. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { chromium } from "playwright-core";
import type { Browser, BrowserContext, Page } from "playwright-core";

/** How long Chromium may take to offer its debugging port, in milliseconds. */
const LAUNCH_MS_MAX = 30_000;

/** Where Chromium writes its debugging port, in the profile. */
const PORT_FILE = "DevToolsActivePort";

const CHROMIUM_ARGUMENTS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--no-default-browser-check",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--remote-debugging-port=0",
];

/** A page on a loopback address. */
export interface ServedPage {
  /** Address of an empty document that loads the script. */
  readonly url: string;
  close(): Promise<void>;
}

/** Bundles a TypeScript file, whose path is relative to `base` (an `import.meta.url`), and serves it as a page. */
export async function servePage(script: string, base: string): Promise<ServedPage> {
  const code = await bundle(fileURLToPath(new URL(script, base)));
  const server = createServer((request, response) => {
    if (request.url === "/page.js") response.setHeader("content-type", "text/javascript").end(code);
    else if (request.url === "/favicon.ico") response.writeHead(204).end();
    else response.setHeader("content-type", "text/html").end('<!doctype html><script src="/page.js"></script>');
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** The script and all it imports, as one classic script. */
export async function bundle(entry: string): Promise<string> {
  const result = await build({
    entryPoints: [entry],
    bundle: true,
    write: false,
    format: "iife",
    target: "es2022",
    logLevel: "warning",
  });
  const [file] = result.outputFiles;
  if (file === undefined) throw new Error(`esbuild made nothing of ${entry}`);
  return file.text;
}

/** A Chromium process with its own profile. */
export interface Chromium {
  readonly context: BrowserContext;
  readonly profile: string;
  /** Process group of the browser and all its children. */
  readonly processGroup: number;
  /** Opens a page whose errors fail the returned promise of `evaluate` or are printed. */
  open(url: string): Promise<Page>;
  /** Ends every process of the browser with SIGKILL: nothing is flushed. */
  kill(): Promise<void>;
  close(): Promise<void>;
}

/**
 * Starts Chromium with the given profile, or with a fresh one that is removed by `close`. With `plain`, pages are as in a
 * person's browser: one in the background is hidden and throttled, and can be frozen.
 */
export async function launchChromium(options: { profile?: string; plain?: boolean } = {}): Promise<Chromium> {
  const profile = options.profile ?? (await mkdtemp(join(tmpdir(), "tidelock-chromium-")));
  await rm(join(profile, PORT_FILE), { force: true });
  const child = spawn(chromiumPath(), [...CHROMIUM_ARGUMENTS, `--user-data-dir=${profile}`, "about:blank"], {
    detached: true,
    stdio: "ignore",
  });
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const processGroup = child.pid;
  if (processGroup === undefined) throw new Error(`cannot start ${chromiumPath()}`);
  const kill = async (): Promise<void> => {
    killGroup(processGroup);
    await exited;
  };
  try {
    const browser = await connect(child, profile, options.plain === true);
    const context = browser.contexts()[0];
    if (context === undefined) throw new Error("Chromium has no default context");
    return {
      context,
      profile,
      processGroup,
      open: (url) => openPage(context, url),
      kill,
      async close() {
        await closeBrowser(browser);
        await exited;
        killGroup(processGroup);
        if (options.profile === undefined) await removeProfile(profile);
      },
    };
  } catch (error) {
    await kill();
    throw error;
  }
}

/** Removes a profile whose browser has ended; its last children may still be writing for a moment. */
export async function removeProfile(profile: string): Promise<void> {
  await rm(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
}

export function chromiumPath(): string {
  const path = process.env["TIDELOCK_CHROMIUM"] ?? "/usr/bin/chromium";
  if (!existsSync(path)) throw new Error(`no Chromium at ${path}: install it, or set TIDELOCK_CHROMIUM to its path`);
  return path;
}

/** The seed of a random test, from TIDELOCK_SEED or chosen and printed. */
export function seedOf(test: string): number {
  const given = process.env["TIDELOCK_SEED"];
  const seed = given === undefined ? Math.floor(Math.random() * 2 ** 32) : Number(given);
  console.log(`${test}: TIDELOCK_SEED=${seed}`);
  return seed;
}

async function openPage(context: BrowserContext, url: string): Promise<Page> {
  const page = await context.newPage();
  page.on("pageerror", (error) => console.error(`error in ${url}: ${error.stack ?? error.message}`));
  await page.goto(url);
  return page;
}

async function connect(child: ChildProcess, profile: string, plain: boolean): Promise<Browser> {
  const file = join(profile, PORT_FILE);
  const deadline = Date.now() + LAUNCH_MS_MAX;
  while (Date.now() < deadline && child.exitCode === null) {
    const [port, path] = (await readFile(file, "utf8").catch(() => "")).split("\n");
    if (port && path) return chromium.connectOverCDP(`ws://127.0.0.1:${port}${path}`, { noDefaults: plain });
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`Chromium offered no debugging port within ${LAUNCH_MS_MAX} ms (exit code ${child.exitCode})`);
}

async function closeBrowser(browser: Browser): Promise<void> {
  const session = await browser.newBrowserCDPSession();
  // The connection ends before the answer arrives, as often as not.
  await session.send("Browser.close").catch(() => undefined);
  await browser.close().catch(() => undefined);
}

function killGroup(processGroup: number): void {
  try {
    process.kill(-processGroup, "SIGKILL");
  } catch {
    // Every process of the group has ended already.
  }
}
