/**
 * First sync of a set of documents in Chromium beside a raw bulk insert of the same documents, and beside PouchDB that replicates
 * them from express-pouchdb. Each measurement has a browser of its own; rounds alternate. Prints JSON rows.
 *
 * What a client applies is committed without a flush, so the raw insert that counts is the relaxed one; the strict one is told beside.
 */
import { atLeast, figure, median, progress, runBench } from "./kit.ts";
import type { Row, Site } from "./kit.ts";
import { pouchRate } from "./pouch.ts";

const DOCUMENTS = Number(process.env["TIDELOCK_BENCH_DOCUMENTS"] ?? 100_000);
/** PouchDB replicates the first part of the set, which takes some 20 seconds: its rate does not rise with the set. */
const POUCH_DOCUMENTS = Math.min(DOCUMENTS, 20_000);
const ROUNDS = Number(process.env["TIDELOCK_BENCH_ROUNDS"] ?? 3);
/** No round begins later than this after the first. */
const ROUNDS_MS_MAX = 50_000;

/** Documents per second of a fresh browser. */
async function rate(site: Site, side: "tidelock" | "strict" | "relaxed"): Promise<number> {
  const { browser, page } = await site.visit();
  const took = await page.evaluate(
    ([which, count]) => (which === "tidelock" ? client.firstSync("app", count) : client.rawInsert("raw", count, which)),
    [side, DOCUMENTS] as const,
  );
  await browser.close();
  const documents = (DOCUMENTS / took) * 1000;
  progress(`${side}: ${took.toFixed(0)} ms, ${documents.toFixed(0)} documents/s`);
  return documents;
}

await runBench(async (site) => {
  progress(`seeding ${DOCUMENTS} documents`);
  await site.seed(DOCUMENTS);
  const rates = { tidelock: [] as number[], strict: [] as number[], relaxed: [] as number[] };
  const begin = performance.now();
  for (let round = 0; round < ROUNDS && performance.now() - begin < ROUNDS_MS_MAX; round++) {
    for (const side of ["strict", "tidelock", "relaxed"] as const) rates[side].push(await rate(site, side));
  }
  const pouch = await pouchRate(POUCH_DOCUMENTS);
  progress(`pouchdb: ${pouch.toFixed(0)} documents/s`);
  const [tidelock, strict, relaxed] = [median(rates.tidelock), median(rates.strict), median(rates.relaxed)];
  const rows: Row[] = [
    figure("first sync", tidelock, "documents/s"),
    figure("raw insert, 1000 per transaction, durability strict", strict, "documents/s"),
    figure("raw insert, 1000 per transaction, durability relaxed", relaxed, "documents/s"),
    atLeast("first sync / raw insert, both relaxed", tidelock / relaxed, "ratio", 0.7),
    figure("first sync / raw insert, strict", tidelock / strict, "ratio"),
    figure(`PouchDB from express-pouchdb, ${POUCH_DOCUMENTS} documents`, pouch, "documents/s"),
    atLeast("first sync / PouchDB", tidelock / pouch, "ratio", 5),
  ];
  return rows;
});
