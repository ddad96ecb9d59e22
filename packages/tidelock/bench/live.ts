/**
 * From a write in one browser to the other browser's page, beside a bare WebSocket relay with an IndexedDB put and get on both
 * sides. Both are measured in turn in the same pages, one write at a time. Prints JSON rows.
 */
import type { AddressInfo } from "node:net";
import type { Page } from "playwright-core";
import { WebSocketServer } from "ws";
import { atMost, figure, median, progress, quantile, runBench } from "./kit.ts";

/** Cards that are voted on in turn. */
const CARDS = 20;
/** Votes that warm up both ways and are not counted. */
const WARM_UP = 20;
const VOTES = 120;

/** Sends what one connection says to every other. */
async function startRelay(): Promise<{ readonly url: string; close(): void }> {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: false });
  await new Promise((resolve) => server.once("listening", resolve));
  server.on("connection", (socket) => {
    socket.on("message", (message, binary) => {
      for (const other of server.clients) if (other !== socket) other.send(message, { binary });
    });
  });
  return { url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}/`, close: () => server.close() };
}

/** Milliseconds from the write to the sight of it. */
async function throughTidelock(writer: Page, reader: Page, votes: number): Promise<number> {
  const start = await writer.evaluate(([card, value]) => client.vote(card, value), [votes % CARDS, votes] as const);
  return (await reader.evaluate((value) => client.sightings.of(value), votes)) - start;
}

async function throughRelay(writer: Page, reader: Page, votes: number): Promise<number> {
  const start = await writer.evaluate(([card, value]) => relay.vote(card, value), [votes % CARDS, votes] as const);
  return (await reader.evaluate((value) => relay.sightings.of(value), votes)) - start;
}

await runBench(async (site) => {
  await site.seed(1000);
  const relayServer = await startRelay();
  const pages = [(await site.visit()).page, (await site.visit()).page] as const;
  for (const page of pages) {
    await page.evaluate(() => client.firstSync("app", 1000));
    await page.evaluate((url) => relay.open(url, "relay"), relayServer.url);
  }
  const [writer, reader] = pages;
  await reader.evaluate((count) => client.watch(count), CARDS);
  const latencies = { tidelock: [] as number[], relay: [] as number[] };
  for (let votes = 1; votes <= WARM_UP + VOTES; votes++) {
    const tidelock = await throughTidelock(writer, reader, votes + 1000);
    const relayed = await throughRelay(writer, reader, votes + 1000);
    if (votes <= WARM_UP) continue;
    latencies.tidelock.push(tidelock);
    latencies.relay.push(relayed);
    if (votes % 20 === 0)
      progress(`${votes} of ${WARM_UP + VOTES}: ${tidelock.toFixed(1)} ms, relay ${relayed.toFixed(1)} ms`);
  }
  relayServer.close();
  return [
    figure("live, median", median(latencies.tidelock), "ms"),
    figure("live, p99", quantile(latencies.tidelock, 0.99), "ms"),
    figure("bare relay, median", median(latencies.relay), "ms"),
    figure("bare relay, p99", quantile(latencies.relay, 0.99), "ms"),
    atMost("live / bare relay, median", median(latencies.tidelock) / median(latencies.relay), "ratio", 3),
    figure("live / bare relay, p99", quantile(latencies.tidelock, 0.99) / quantile(latencies.relay, 0.99), "ratio"),
  ];
});
