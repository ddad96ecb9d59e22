/**
 * Capture overhead: CPU time of all processes of Chromium for the same writes through a wrapped and a native factory.
 * Rounds are interleaved in one run, so the ratio means something on a busy machine, and each side has a Chromium of
 * its own, so that what the storage does in the background is charged to whose writes caused it. Prints JSON rows.
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

interface Case extends Omit<Workload, "from"> {
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
    rounds: 5,
  },
  { name: "capture CPU, 1 write per transaction", documents: 1_000, perTransaction: 1, budget: 1.6, rounds: 8 },
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

const SIDES: readonly Side[] = ["native", "wrapped"];

/** Ticks that each side spends on all rounds of a case; its first round warms caches and compiler and is not counted. */
async function ticksOf({ name, rounds, documents, perTransaction }: Case, url: string): Promise<Record<Side, number>> {
  const browsers = { native: await launchChromium(), wrapped: await launchChromium() };
  try {
    const pages = { native: await browsers.native.open(url), wrapped: await browsers.wrapped.open(url) };
    const runRound = async (round: number): Promise<void> => {
      const workload: Workload = { from: round * documents, documents, perTransaction };
      for (const side of round % 2 === 0 ? SIDES : SIDES.toReversed()) {
        await pages[side].evaluate(([which, work]) => globalThis.bench.round(which, work), [side, workload] as const);
      }
      console.error(`${name}: round ${round} of ${rounds}`);
    };
    await runRound(0);
    const before = SIDES.map((side) => cpuTicks(browsers[side].processGroup));
    for (let round = 1; round <= rounds; round++) await runRound(round);
    const [native, wrapped] = SIDES.map((side, index) =>
      ticksBetween(before[index] ?? new Map<number, number>(), cpuTicks(browsers[side].processGroup)),
    );
    return { native: native ?? NaN, wrapped: wrapped ?? NaN };
  } finally {
    await browsers.native.close();
    await browsers.wrapped.close();
  }
}

async function main(): Promise<void> {
  const served = await servePage("capture-page.ts", import.meta.url);
  try {
    const rows: Row[] = [];
    for (const one of CASES) {
      const { native, wrapped } = await ticksOf(one, served.url);
      console.error(`${one.name}: native ${native}, wrapped ${wrapped} ticks`);
      const value = Math.round((wrapped / native) * 1000) / 1000;
      rows.push({ name: one.name, value, unit: "ratio", budget: one.budget, ok: value <= one.budget });
    }
    console.log(JSON.stringify(rows, null, 2));
    if (rows.some((row) => !row.ok)) process.exitCode = 1;
  } finally {
    await served.close();
  }
}

await main();
