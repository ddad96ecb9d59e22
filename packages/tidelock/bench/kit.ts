/** What the benches of the sync share: a running server with the bench's page, and rows. */
import { writeFile } from "node:fs/promises";
import { loadavg } from "node:os";
import { join } from "node:path";
import type { Page } from "playwright-core";
import type { Chromium } from "../test/browser/harness.ts";
import { makeScript, page, withStack } from "../test/browser/stack.ts";
import type { Stack, StackOptions } from "../test/browser/stack.ts";

/** A measurement. */
export interface Row {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** The greatest or least value, with its sign; `null` for a figure without a budget. */
  readonly budget: string | null;
  readonly ok: boolean;
}

/** A row whose value must not exceed the budget. */
export function atMost(name: string, value: number, unit: string, budget: number): Row {
  return { name, value: rounded(value), unit, budget: `≤ ${budget}`, ok: value <= budget };
}

/** A row whose value must reach the budget. */
export function atLeast(name: string, value: number, unit: string, budget: number): Row {
  return { name, value: rounded(value), unit, budget: `≥ ${budget}`, ok: value >= budget };
}

/** A figure without a budget. */
export function figure(name: string, value: number, unit: string): Row {
  return { name, value: rounded(value), unit, budget: null, ok: true };
}

/** Three digits after the point for small values, none for large ones. */
function rounded(value: number): number {
  return Math.abs(value) < 100 ? Math.round(value * 1000) / 1000 : Math.round(value);
}

/** Says how far a bench is, on standard error. */
export function progress(text: string): void {
  console.error(`${text} (load ${loadavg()[0]?.toFixed(1)})`);
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** The value below which a share of the values lies. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
}

/** Runs a bench with a server of its own and prints its rows. */
export async function runBench(measure: (site: Site) => Promise<readonly Row[]>): Promise<void> {
  await withSite({}, async (site) => print(await measure(site)));
}

/** Prints the rows of a bench. */
export function print(rows: readonly Row[]): void {
  console.log(JSON.stringify(rows, null, 2));
}

/** Runs something with a server that serves the bench's page, and ends the server whatever happens. */
export async function withSite(options: StackOptions, body: (site: Site) => Promise<void>): Promise<void> {
  await withStack(options, async (stack) => {
    await makeScript("../../bench/sync-page.ts", join(stack.app, "bench.js"));
    await writeFile(join(stack.app, "bench.html"), page('<script type="module" src="/bench.js"></script>'));
    await body(new Site(stack));
  });
}

/** A server that serves the bench's page. */
export class Site {
  readonly stack: Stack;

  constructor(stack: Stack) {
    this.stack = stack;
  }

  /** A browser with a profile of its own, with the bench's page open. Close `browser` when it is not needed any more. */
  async visit(): Promise<{ readonly browser: Chromium; readonly page: Page }> {
    const browser = await this.stack.browser();
    return { browser, page: await this.open(browser) };
  }

  async open(browser: Chromium): Promise<Page> {
    const page = await browser.open(`${this.stack.url}bench.html`);
    await page.waitForFunction(() => "relay" in globalThis);
    return page;
  }

  /** Gives the server cards 0 to `count` - 1. */
  async seed(count: number): Promise<void> {
    const { browser, page } = await this.visit();
    const url = new URL("/v1/sync", this.stack.url.replace(/^http/, "ws")).href;
    await page.evaluate(([to, token, cards]) => client.seed(to, token, cards), [
      url,
      await this.stack.token(),
      count,
    ] as const);
    await browser.close();
  }
}
