/** A browser and a server of static files for the board's tests. The board itself is the built one, in dist/. */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { chromium, type Browser, type BrowserContext, type BrowserContextOptions, type Page } from "playwright-core";

const here = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".webmanifest": "application/manifest+json",
};

/** The place of a notice in the page. */
const NO_NOTICE = 'name="board-notice" content=""';

const ARGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export class Harness {
  readonly origin: string;
  /** While true, the server breaks off every request, as one that is not there. */
  down = false;
  /** While false, the stand-in for the package `tidelock` is not there. */
  engine = true;
  /** What whoever serves the board has to say. */
  notice = "";
  readonly #server: Server;
  readonly #browser: Browser;

  private constructor(server: Server, browser: Browser) {
    this.#server = server;
    this.#browser = browser;
    this.origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  /** Builds the board and starts the server and the browser. */
  static async start(): Promise<Harness> {
    await promisify(execFile)(process.execPath, [here("../build.mjs")]);
    let harness: Harness | null = null;
    const server = createServer((request, response) => {
      if (harness?.down) return void request.socket.destroy();
      const path = new URL(request.url ?? "/", "http://host").pathname;
      if (harness?.engine === false && path.startsWith("/tidelock/")) return void response.writeHead(404).end();
      serve(path, harness?.notice ?? "").then(
        ({ type, body }) => response.writeHead(200, { "content-type": type }).end(body),
        () => response.writeHead(404).end(),
      );
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const executablePath = process.env["TIDELOCK_CHROMIUM"] ?? "/usr/bin/chromium";
    harness = new Harness(server, await chromium.launch({ executablePath, headless: true, args: ARGS }));
    return harness;
  }

  async stop(): Promise<void> {
    await this.#browser.close();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** A browser profile of its own. */
  context(options: BrowserContextOptions = {}): Promise<BrowserContext> {
    return this.#browser.newContext({ viewport: { width: 1360, height: 800 }, locale: "en-GB", ...options });
  }

  /** Opens the board in `context` and waits until it is drawn. `complaints` collects what the console reports. */
  async open(context: BrowserContext, query: string, complaints: string[] = []): Promise<Page> {
    const page = await context.newPage();
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("console", (message) => {
      if (message.type() === "error") complaints.push(message.text());
    });
    await page.goto(`${this.origin}/${query}`);
    await page.locator('[data-testid="columns"], [data-testid="empty-board"]').first().waitFor();
    return page;
  }
}

async function serve(path: string, notice: string): Promise<{ type: string; body: string | Buffer }> {
  if (path === "/v1/dev/token") return { type: "application/json", body: '{"token":"test"}' };
  if (path === "/tidelock/index.js") {
    return { type: "text/javascript", body: await readFile(here("stub-engine.js")) };
  }
  const file = normalize(path === "/" ? "/index.html" : path);
  if (file === "/index.html") {
    const html = await readFile(here("../dist/index.html"), "utf8");
    return {
      type: "text/html; charset=utf-8",
      body: html.replace(NO_NOTICE, `name="board-notice" content="${notice}"`),
    };
  }
  return { type: TYPES[extname(file)] ?? "application/octet-stream", body: await readFile(here(`../dist${file}`)) };
}

/** The locator of a `data-testid` below `root`. */
export function at(root: Page | ReturnType<Page["locator"]>, testid: string): ReturnType<Page["locator"]> {
  return root.locator(`[data-testid="${testid}"]`);
}

/** The column of the list called `name`. */
export function column(page: Page, name: string): ReturnType<Page["locator"]> {
  return page.locator(`[data-testid="list"][aria-label="List ${name}"]`);
}

/** Titles of the cards of a list, in order. */
export function titles(page: Page, list: string): Promise<string[]> {
  return at(column(page, list), "card-open").locator("span:not(.visually-hidden)").allTextContents();
}

/** Waits until `read` gives `wanted`; fails with the last value that it gave. */
export async function eventually<T>(read: () => Promise<T>, wanted: T): Promise<void> {
  const deadline = Date.now() + 15_000;
  const goal = JSON.stringify(wanted);
  for (;;) {
    const found = JSON.stringify(await read());
    if (found === goal) return;
    if (Date.now() > deadline) throw new Error(`expected ${goal}, found ${found}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** All rows of a store of the database `board`, as JSON with dates marked. */
export function rows(page: Page, store: string, database = "board"): Promise<Record<string, unknown>[]> {
  return page.evaluate(
    ([name, wanted]) =>
      new Promise<Record<string, unknown>[]>((resolve, reject) => {
        const open = indexedDB.open(name);
        open.onerror = () => reject(open.error ?? new Error("open"));
        open.onsuccess = () => {
          const all = open.result.transaction(wanted).objectStore(wanted).getAll();
          all.onerror = () => reject(all.error ?? new Error("getAll"));
          all.onsuccess = () => {
            open.result.close();
            resolve(all.result as Record<string, unknown>[]);
          };
        };
      }),
    [database, store] as const,
  );
}

/** Writes rows past the board, as a foreign writer would. */
export function plant(page: Page, store: string, planted: readonly unknown[]): Promise<void> {
  return page.evaluate(
    ([name, values]) =>
      new Promise<void>((resolve, reject) => {
        const open = indexedDB.open("board");
        open.onerror = () => reject(open.error ?? new Error("open"));
        open.onsuccess = () => {
          const tx = open.result.transaction(name, "readwrite");
          for (const value of values) tx.objectStore(name).put(value);
          tx.onabort = () => reject(tx.error ?? new Error("abort"));
          tx.oncomplete = () => {
            open.result.close();
            resolve();
          };
        };
      }),
    [store, planted] as const,
  );
}
