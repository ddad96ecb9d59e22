/** The server's conflict log, over REST. */
import type { WorkerSetup } from "../messages.ts";
import type { ConflictEntry } from "../types.ts";
import { decodeKey } from "./key.ts";
import { decodeValue } from "./value.ts";

interface LogEntry {
  readonly number: number;
  readonly at: number;
  readonly by: string;
  readonly collection: string;
  readonly key: string;
  readonly path: readonly string[];
  readonly strategy: string;
  readonly base?: unknown;
  readonly mine?: unknown;
  readonly theirs?: unknown;
  readonly outcome?: unknown;
}

/** The latest entries of the stores that this database syncs. */
export async function fetchConflicts(setup: WorkerSetup, token: string, storeOf: ReadonlyMap<string, string>): Promise<ConflictEntry[]> {
  const url = new URL(setup.url);
  url.protocol = url.protocol === "wss:" ? "https:" : "http:";
  url.pathname = `/v1/db/${encodeURIComponent(setup.remote)}/conflicts`;
  url.search = "?limit=200";
  const response = await fetch(url, { headers: { authorization: `Bearer ${token}` }, signal: AbortSignal.timeout(10_000) });
  if (!response.ok) throw new Error(`the server answers ${response.status} for its conflict log`);
  const { conflicts } = (await response.json()) as { conflicts: LogEntry[] };
  return conflicts.filter((entry) => storeOf.has(entry.collection)).map((entry) => conflictOf(entry, storeOf));
}

function conflictOf(entry: LogEntry, storeOf: ReadonlyMap<string, string>): ConflictEntry {
  const { path, strategy } = entry;
  return {
    id: String(entry.number),
    at: entry.at,
    store: storeOf.get(entry.collection) ?? entry.collection,
    key: decodeKey(entry.key),
    path,
    strategy,
    by: entry.by,
    base: decodeValue(entry.base),
    mine: decodeValue(entry.mine),
    theirs: decodeValue(entry.theirs),
    outcome: decodeValue(entry.outcome),
  };
}
