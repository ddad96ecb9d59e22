/**
 * Writes made offline and pushed at once: bytes on the wire, sent and received, and the time until the server confirmed all.
 * Prints JSON rows.
 */
import { jsonBytes } from "./documents.ts";
import { watchFrames } from "./frames.ts";
import { atMost, figure, progress, runBench } from "./kit.ts";
import type { Row, Site } from "./kit.ts";

const WRITES = 10_000;

async function push(site: Site, perTransaction: number): Promise<Row[]> {
  const { browser, page } = await site.visit();
  const traffic = await watchFrames(page);
  await page.evaluate((database) => client.open({ database, offline: true }), `push-${perTransaction}`);
  const [writing, pushing] = await page.evaluate(
    async ([count, per]) => {
      const start = performance.now();
      await client.put(0, count, per);
      const written = performance.now();
      client.setOnline(true);
      await client.flush();
      return [written - start, performance.now() - written] as const;
    },
    [WRITES, perTransaction] as const,
  );
  await browser.close();
  progress(
    `${perTransaction} per transaction: written in ${writing.toFixed(0)} ms, pushed in ${pushing.toFixed(0)} ms`,
  );
  progress(`${traffic.sent} bytes sent, ${traffic.received} received`);
  const what = `${WRITES} offline writes, ${perTransaction} per transaction`;
  const ratio = (traffic.sent + traffic.received) / jsonBytes(WRITES);
  return [
    atMost(`${what}: bytes / JSON`, ratio, "ratio", 1.2),
    figure(`${what}: until all are confirmed`, pushing, "ms"),
    figure(`${what}: until all are confirmed / the writes themselves`, pushing / writing, "ratio"),
  ];
}

await runBench(async (site) => {
  const single = await push(site, 1);
  const held = (await site.stack.documents("cards")).length;
  if (held !== WRITES) throw new Error(`the server holds ${held} of ${WRITES} documents`);
  return single;
});
