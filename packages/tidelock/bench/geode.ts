/**
 * From a write in one browser to the page of another browser, each at a server of its own, over the regions of a Geode cluster, whose
 * locator `TIDELOCK_TEST_GEODE` names. One write at a time. Prints JSON rows.
 */
import { figure, median, print, progress, quantile, withSite } from "./kit.ts";
import type { Site } from "./kit.ts";

/** Cards that are voted on in turn. */
const CARDS = 20;
/** Votes that warm up and are not counted. */
const WARM_UP = 20;
const VOTES = 200;

function configuration(node: string): string {
  const locator = process.env["TIDELOCK_TEST_GEODE"];
  if (locator === undefined) throw new Error("TIDELOCK_TEST_GEODE names no locator: run `cargo xtask bench geode`");
  return `
[databases.app]
path = "app.db"

[databases.app.cluster]
kind = "geode"
addresses = ["${locator}"]
node = "bench-${node}-${process.pid}"
names = { cards = "suite2" }

[databases.app.collections.cards]
read = 'identity.sub != ""'
write = 'identity.sub != ""'
`;
}

/** Milliseconds from each write until a reader at another server saw it. */
async function latencies(one: Site, other: Site): Promise<readonly number[]> {
  const [writer, reader] = [(await one.visit()).page, (await other.visit()).page];
  await writer.evaluate(() => client.firstSync("app", 0));
  await writer.evaluate((count) => client.put(0, count), CARDS);
  await writer.evaluate(() => client.flush());
  await reader.evaluate((count) => client.firstSync("app", count), CARDS);
  await reader.evaluate((count) => client.watch(count), CARDS);
  const taken: number[] = [];
  for (let votes = 1; votes <= WARM_UP + VOTES; votes++) {
    // No card has so many when it is made.
    const value = 1_000_000 + votes;
    const start = await writer.evaluate(([card, to]) => client.vote(card, to), [votes % CARDS, value] as const);
    const took = (await reader.evaluate((to) => client.sightings.of(to), value)) - start;
    if (votes > WARM_UP) taken.push(took);
    if (votes % 20 === 0) progress(`${votes} of ${WARM_UP + VOTES}: ${took.toFixed(1)} ms`);
  }
  return taken;
}

await withSite({ config: configuration("one") }, (one) =>
  withSite({ config: configuration("two") }, async (other) => {
    const taken = await latencies(one, other);
    print([
      figure("write, at a browser of another server, median", median(taken), "ms"),
      figure("write, at a browser of another server, p99", quantile(taken, 0.99), "ms"),
    ]);
  }),
);
