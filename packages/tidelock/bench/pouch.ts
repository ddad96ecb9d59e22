/** PouchDB in Chromium that replicates from express-pouchdb over a store in memory: what the first sync is measured against. */
import { createServer } from "node:http";
import type { RequestListener } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import { launchChromium } from "../test/browser/harness.ts";
import { cards } from "./documents.ts";

/** Documents that PouchDB fetches at once: its default of 100 is slower. */
const BATCH = 1000;

interface Database {
  bulkDocs(documents: readonly object[]): Promise<unknown>;
}

interface Replication {
  readonly ok: boolean;
  readonly docs_written: number;
}

interface PouchConstructor {
  new (name: string): Database;
  plugin(plugin: unknown): void;
  defaults(options: { readonly adapter: string }): PouchConstructor;
  replicate(from: string, to: string, options: { readonly batch_size: number }): Promise<Replication>;
}

declare global {
  var PouchDB: PouchConstructor;
}

/** The packages have no types of their own. */
const load = createRequire(import.meta.url) as (name: string) => unknown;

/** Documents per second of a replication of `count` cards into a fresh browser. */
export async function pouchRate(count: number): Promise<number> {
  const Pouch = load("pouchdb") as PouchConstructor;
  Pouch.plugin(load("pouchdb-adapter-memory"));
  const Memory = Pouch.defaults({ adapter: "memory" });
  const source = new Memory("cards");
  for (let first = 0; first < count; first += BATCH) {
    const batch = cards(first, Math.min(BATCH, count - first));
    await source.bulkDocs(batch.map(({ id, ...rest }) => ({ _id: id, ...rest })));
  }
  const server = createServer(application(Memory));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const browser = await launchChromium();
  try {
    const page = await browser.open(`${origin}/page`);
    const [took, replication] = await page.evaluate(
      async ([from, batch]) => {
        const start = performance.now();
        const result = await PouchDB.replicate(from, "replica", { batch_size: batch });
        return [performance.now() - start, result] as const;
      },
      [`${origin}/db/cards`, BATCH] as const,
    );
    if (!replication.ok || replication.docs_written !== count) throw new Error("the replication is not complete");
    return (count / took) * 1000;
  } finally {
    await browser.close();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

interface Express {
  (): Application;
  static(path: string): RequestListener;
}

type Application = RequestListener & { use(path: string, handler: RequestListener): void };

function application(Pouch: PouchConstructor): Application {
  const express = load("express") as Express;
  const gateway = load("express-pouchdb") as (pouch: PouchConstructor, options: object) => RequestListener;
  const app = express();
  app.use("/db", gateway(Pouch, { mode: "minimumForPouchDB", inMemoryConfig: true }));
  const script = createRequire(import.meta.url).resolve("pouchdb/dist/pouchdb.min.js");
  app.use("/pouchdb.js", express.static(script));
  app.use("/page", (_, response) => {
    const html = '<!doctype html><link rel="icon" href="data:,"><script src="/pouchdb.js"></script>';
    response.setHeader("content-type", "text/html").end(html);
  });
  return app;
}
