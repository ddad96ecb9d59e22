/**
 * Bytes that the sync puts on the wire: payload of WebSocket frames, both directions unless told otherwise. Prints JSON rows.
 */
import { cardOf, jsonBytes } from "./documents.ts";
import { watchFrames } from "./frames.ts";
import type { Traffic } from "./frames.ts";
import { atMost, figure, median, progress, runBench } from "./kit.ts";

const DOCUMENTS = 10_000;
const LIVE_CHANGES = 20;

function since(traffic: Traffic, before: Traffic): Traffic {
  return { sent: traffic.sent - before.sent, received: traffic.received - before.received };
}

await runBench(async (site) => {
  progress(`seeding ${DOCUMENTS} documents`);
  await site.seed(DOCUMENTS);
  const reader = await site.visit();
  const traffic = await watchFrames(reader.page);
  await reader.page.evaluate((count) => client.firstSync("app", count), DOCUMENTS);
  const first = { ...traffic };
  progress(`first sync: ${first.received} bytes received, ${first.sent} sent`);
  if (first.received === 0) throw new Error("no WebSocket frame of the worker was seen");

  const writer = await site.visit();
  await writer.page.evaluate(() => client.open({ database: "writer" }));
  await writer.page.evaluate(() => client.untilPhase("live"));
  await reader.page.evaluate((count) => client.watch(count), LIVE_CHANGES);
  const received: number[] = [];
  const both: number[] = [];
  for (let number = 0; number < LIVE_CHANGES; number++) {
    const votes = 1000 + number;
    const before = { ...traffic };
    await writer.page.evaluate(([card, value]) => client.vote(card, value), [number, votes] as const);
    await reader.page.evaluate((value) => client.sightings.of(value), votes);
    const body = Buffer.byteLength(JSON.stringify({ ...cardOf(number), votes }));
    const change = since(traffic, before);
    received.push(change.received - body);
    both.push(change.received + change.sent - body);
  }
  progress(`live change beyond its body: ${received.join(" ")}`);

  await reader.page.evaluate(() => client.setOnline(false));
  await reader.page.evaluate(() => client.untilPhase("offline"));
  const before = { ...traffic };
  await reader.page.evaluate(() => client.setOnline(true));
  await reader.page.evaluate(() => client.untilPhase("live"));
  const reconnect = since(traffic, before);
  progress(`reconnect: ${reconnect.received} bytes received, ${reconnect.sent} sent`);

  const json = jsonBytes(DOCUMENTS);
  return [
    atMost(`first sync of ${DOCUMENTS} documents / their JSON`, (first.received + first.sent) / json, "ratio", 0.25),
    atMost("live change beyond its body, median", median(received), "B", 150),
    figure("live change beyond its body, with what the client sends, median", median(both), "B"),
    atMost("reconnect without changes", reconnect.received + reconnect.sent, "B", 500),
  ];
});
