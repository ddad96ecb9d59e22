/**
 * Capture overhead: CPU time of all processes of Chromium for the same writes through a wrapped and a native factory.
 * Rounds are interleaved in one run, so the ratio means something on a busy machine. Prints JSON rows on stdout.
 */
import { readFileSync, readdirSync } from "node:fs";
import { launchChromium, servePage } from "../test/browser/harness.ts";
import type { Side, Workload } from "./capture-page.ts";

interface Row {
  readonly name: string;
  readonly value: number;
  readonly unit: "ratio";
  readonly budget: number;
  readonly ok: boolean;
}

interface Case extends Workload {
  readonly name: string;
  /** The greatest ratio of wrapped to native. */
  readonly budget: number;
  readonly rounds: number;
}

const CASES: readonly Case[] = [
  {
    name: "capture CPU, 1000 writes per transaction",
    documents: 20_000,
    perTransaction: 1000,
    budget: 1.15,
    rounds: 10,
  },
  { name: "capture CPU, 1 write per transaction", documents: 1_500, perTransaction: 1, budget: 1.6, rounds: 10 },
];

/** Clock ticks that each live process of the group has used, by process id: Linux counts 100 a second. */
function cpuTicks(processGroup: number): Map<number, number> {
  const ticks = new Map<number, number>();
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    let stat: string;
    try {
      stat = readFileSync(`/proc/${entry}/stat`, "utf8");
    } catch {
      continue; // The process ended between the two calls.
    }
    // The fields after the command's closing parenthesis: state, parent, group, ... (proc(5)).
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (Number(fields[2]) === processGroup) ticks.set(Number(entry), Number(fields[11]) + Number(fields[12]));
  }
  return ticks;
}

function ticksBetween(before: Map<number, number>, after: Map<number, number>): number {
  let sum = 0;
  for (const [pid, ticks] of after) sum += ticks - (before.get(pid) ?? 0);
  return sum;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return ((sorted[middle] ?? NaN) + (sorted[Math.ceil(sorted.length / 2 - 0.5)] ?? NaN)) / 2;
}

async function main(): Promise<void> {
  const served = await servePage("capture-page.ts", import.meta.url);
  const browser = await launchChromium();
  try {
    const page = await browser.open(served.url);
    const measure = async (side: Side, workload: Workload): Promise<number> => {
      const before = cpuTicks(browser.processGroup);
      await page.evaluate(([which, work]) => globalThis.bench.round(which, work), [side, workload] as const);
      return ticksBetween(before, cpuTicks(browser.processGroup));
    };
    const rows: Row[] = [];
    for (const { name, budget, rounds, ...workload } of CASES) {
      const ratios: number[] = [];
      for (let round = -1; round < rounds; round++) {
        await page.evaluate(() => globalThis.bench.reset());
        const order: readonly Side[] = round % 2 === 0 ? ["native", "wrapped"] : ["wrapped", "native"];
        const ticks = { native: 0, wrapped: 0 };
        for (const side of order) ticks[side] = await measure(side, workload);
        console.error(`${name}, round ${round}: native ${ticks.native}, wrapped ${ticks.wrapped} ticks`);
        // The first round warms the caches and the compiler.
        if (round >= 0) ratios.push(ticks.wrapped / ticks.native);
      }
      const value = Math.round(median(ratios) * 1000) / 1000;
      rows.push({ name, value, unit: "ratio", budget, ok: value <= budget });
    }
    console.log(JSON.stringify(rows, null, 2));
    if (rows.some((row) => !row.ok)) process.exitCode = 1;
  } finally {
    await browser.close();
    await served.close();
  }
}

await main();
