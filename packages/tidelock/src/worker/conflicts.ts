/** The server's conflict log, over REST. */
import type { WorkerSetup } from "../messages.ts";
import type { ConflictEntry } from "../types.ts";
import { decodeKey } from "./key.ts";
import { decodeValue, parseExact } from "./value.ts";

type Side = "base" | "mine" | "theirs" | "outcome";

interface LogEntry {
  readonly number: number;
  readonly at: number;
  readonly by: string;
  readonly collection: string;
  readonly key: string;
  readonly path: readonly string[];
  readonly strategy: string;
  readonly base: unknown;
  readonly mine: unknown;
  readonly theirs: unknown;
  readonly outcome: unknown;
  /** Which sides have a value: one that is absent is `null`, as JSON has nothing else. */
  readonly had: Readonly<Record<Side, boolean>>;
}

/** The latest entries of the stores that this database syncs. */
export async function fetchConflicts(setup: WorkerSetup, token: string, storeOf: ReadonlyMap<string, string>): Promise<ConflictEntry[]> {
  const url = new URL(setup.url);
  url.protocol = url.protocol === "wss:" ? "https:" : "http:";
  url.pathname = `/v1/db/${encodeURIComponent(setup.remote)}/conflicts`;
  url.search = "?limit=200";
  const response = await fetch(url, { headers: { authorization: `Bearer ${token}` }, signal: AbortSignal.timeout(10_000) });
  if (!response.ok) throw new Error(`the server answers ${response.status} for its conflict log`);
  const { conflicts } = parseExact(await response.text()) as { conflicts: LogEntry[] };
  return conflicts.filter((entry) => storeOf.has(entry.collection)).map((entry) => conflictOf(entry, storeOf));
}

function conflictOf(entry: LogEntry, storeOf: ReadonlyMap<string, string>): ConflictEntry {
  const { path, strategy } = entry;
  const side = (name: Side): unknown => (entry.had[name] ? decodeValue(entry[name]) : undefined);
  return {
    id: String(entry.number),
    at: entry.at,
    store: storeOf.get(entry.collection) ?? entry.collection,
    key: decodeKey(entry.key),
    path,
    strategy,
    by: entry.by,
    base: side("base"),
    mine: side("mine"),
    theirs: side("theirs"),
    outcome: side("outcome"),
  };
}
