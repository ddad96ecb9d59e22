/** The built package as applications load it: a plain script tag, and Vite; both under the documented Content-Security-Policy. */
import assert from "node:assert/strict";
import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { build as esbuild } from "esbuild";
import { build as vite } from "vite";
import { distribution, flushed, page as html, withStack } from "./stack.ts";
import type { Stack } from "./stack.ts";

const DOCUMENT = fileURLToPath(new URL("../../../../docs/browser.md", import.meta.url));
/** The two blocks of the document's page. */
const PAGE = /## A first page\n[^]*?```html\n([^]*?)```[^]*?```js\n([^]*?)```/;
const DRIVER = fileURLToPath(new URL("pages/sync-driver.ts", import.meta.url));

void test("a plain script tag", { timeout: 60_000 }, async () => {
  await withStack({}, async (stack) => {
    await esbuild({
      entryPoints: [DRIVER],
      outfile: join(stack.app, "plain.js"),
      bundle: true,
      format: "iife",
      logLevel: "warning",
      plugins: [
        {
          name: "global",
          setup(setup) {
            setup.onResolve({ filter: /^tidelock$/ }, () => ({ path: "tidelock", namespace: "global" }));
            setup.onLoad({ filter: /.*/, namespace: "global" }, () => ({
              contents: "export const { wrap } = globalThis.tidelock;",
            }));
          },
        },
      ],
    });
    const scripts = '<script src="/tidelock/tidelock.js"></script><script src="/plain.js"></script>';
    await writeFile(join(stack.app, "plain.html"), html(scripts));
    await syncs(stack, "plain.html");
  });
});

void test("a Vite build", { timeout: 90_000 }, async () => {
  await withStack({}, async (stack) => {
    const root = join(stack.app, "..", "vite");
    const installed = join(root, "node_modules", "tidelock");
    await mkdir(installed, { recursive: true });
    await cp(distribution(), join(installed, "dist"), { recursive: true });
    await cp(fileURLToPath(new URL("../../package.json", import.meta.url)), join(installed, "package.json"));
    await cp(DRIVER, join(root, "main.ts"));
    await writeFile(join(root, "index.html"), html('<script type="module" src="/main.ts"></script>'));
    await vite({
      root,
      configFile: false,
      base: "/built/",
      logLevel: "warn",
      build: { outDir: join(stack.app, "built"), emptyOutDir: true },
    });
    const index = await readFile(join(stack.app, "built", "index.html"), "utf8");
    assert.match(index, /\/built\/assets\/index-/);
    await syncs(stack, "built/index.html");
  });
});

void test("the first page of docs/browser.md", { timeout: 60_000 }, async () => {
  const config = '[databases.board]\npath = "board.db"\nopen_collections = true\n';
  await withStack({ config }, async (stack) => {
    const [, markup, script] = PAGE.exec(await readFile(DOCUMENT, "utf8")) ?? [];
    assert.ok(markup !== undefined && script !== undefined, "the document has the page and its script");
    const folder = join(stack.app, "tidelock");
    await writeFile(join(folder, "first.html"), markup);
    await writeFile(join(folder, "cards.js"), script);
    const [one, other] = await Promise.all([stack.browser(), stack.browser()]);
    const pages = [
      await one.open(`${stack.url}tidelock/first.html`),
      await other.open(`${stack.url}tidelock/first.html`),
    ];
    for (const page of pages) await page.locator("#add").click();
    const twice = /Made in a browser[^]*Made in a browser/;
    for (const page of pages) await page.locator("#cards", { hasText: twice }).waitFor();
    for (const page of pages) await page.locator("#status", { hasText: "live, 0 to send" }).waitFor();
  });
});

/** The page writes a row that reaches the server, and breaks no rule of the policy that the server sends. */
async function syncs(stack: Stack, path: string): Promise<void> {
  const policy = (await fetch(stack.url + path)).headers.get("content-security-policy") ?? "";
  assert.match(policy, /script-src 'self' 'wasm-unsafe-eval'/);
  assert.doesNotMatch(policy, /'unsafe-eval'|script-src[^;]*'unsafe-inline'/);
  const browser = await stack.browser();
  const page = await browser.open(stack.url + path);
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(message.text());
  });
  await page.evaluate(() => driver.open({ stores: [{ name: "notes", keyPath: "id" }] }));
  await page.evaluate(() => driver.run([{ ops: [["put", "notes", { id: "a" }]] }]));
  await flushed(page);
  assert.deepEqual(await stack.state("notes"), { a: { id: "a" } });
  assert.deepEqual(complaints, []);
}
