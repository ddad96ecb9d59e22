/**
 * The one place that knows Tidelock: it hands the rest of the board an IDBFactory.
 *
 * The engine is loaded as a module beside app.js (`tidelock/index.js`), so that its worker and WASM file are found by
 * their own addresses. `?local` in the address leaves it out.
 */
import { SHARED_STORES, type Touched } from "./data.ts";
import { reasonOf } from "./format.ts";
import { databaseOf, fetchToken, type Identity } from "./identity.ts";
import { LocalSync } from "./local-sync.ts";
import type { ChangeEvent, SyncApi, TidelockModule } from "./sync-api.ts";

const ENGINE = "./tidelock/index.js";
const REMOTE = "board";

export interface Connection {
  /** `local`: no engine, the rows stay in this browser. */
  readonly mode: "synced" | "local";
  readonly factory: IDBFactory;
  readonly database: string;
  readonly sync: SyncApi;
  /** Why the engine is missing although it was wanted. */
  readonly failure: string | null;
  /** To be called after each committed transaction of this tab. The engine finds out by itself. */
  announce(touched: readonly Touched[]): void;
}

function isTidelock(module: unknown): module is TidelockModule {
  return typeof module === "object" && module !== null && "wrap" in module && typeof module.wrap === "function";
}

function connectLocal(database: string, failure: string | null): Connection {
  const sync = new LocalSync(database);
  const announce = (touched: readonly Touched[]): void => {
    const changes = SHARED_STORES.map((store): ChangeEvent => {
      const keys = touched.filter((row) => row.store === store).map((row) => row.key);
      return { store, keys, origin: "local" };
    }).filter((change) => change.keys?.length !== 0);
    if (changes.length > 0) sync.announce(changes);
  };
  return { mode: "local", factory: indexedDB, database, sync, failure, announce };
}

/** Connects the board for `who`. Never fails: without an engine the board works on this device only. */
export async function connect(who: Identity): Promise<Connection> {
  const database = databaseOf(who);
  if (new URLSearchParams(location.search).has("local")) return connectLocal(database, null);
  try {
    const module: unknown = await import(new URL(ENGINE, import.meta.url).href);
    if (!isTidelock(module)) throw new TypeError(`${ENGINE} has no wrap()`);
    const factory = module.wrap(indexedDB, {
      url: new URL("/v1/sync", location.href.replace(/^http/, "ws")).href,
      database,
      remote: REMOTE,
      token: () => fetchToken(who.sub),
      stores: SHARED_STORES,
    });
    return { mode: "synced", factory, database, sync: factory.sync, failure: null, announce: () => undefined };
  } catch (error) {
    return connectLocal(database, reasonOf(error));
  }
}
