/**
 * Dexie 4: its live queries (`liveQuery`, `useLiveQuery`) run again when the sync changed rows. Changes by Dexie itself it notices
 * alone, in every tab.
 */
import type { ChangeEvent, Tidelock } from "./types.ts";

/** The class `Dexie`, version 4. This package does not depend on a Dexie of its own. */
export interface DexieClass {
  readonly semVer: string;
  /** Greater than every key. */
  readonly maxKey: unknown;
}

/** What the class has besides what its declarations name. */
interface DexieParts extends DexieClass {
  /** Databases that are open in this page. */
  readonly connections: readonly DexieDatabase[];
  readonly RangeSet: new (...range: [from: unknown, to: unknown] | []) => DexieRanges;
}

/** A set of key ranges. */
interface DexieRanges {
  addKey(key: IDBValidKey): unknown;
}

/** An open Dexie database. */
interface DexieDatabase {
  readonly name: string;
  readonly tables: readonly {
    readonly name: string;
    readonly schema: { readonly indexes: readonly { readonly name: string }[] };
  }[];
}

/** The event by which the Dexies of one page tell each other what changed: ranges by `idb://database/table/index`. */
const MUTATED = "x-storagemutated-1";

/** Lets the live queries of a Dexie database see what the sync changes. The function returned ends it. */
export function connectDexie(dexie: DexieClass, sync: Tidelock, databaseName: string): () => void {
  if (!isDexie4(dexie)) throw new TypeError(`connectDexie needs Dexie 4, not ${dexie.semVer}`);
  return sync.on("change", (change) => {
    // Of a change in this browser Dexie knows by itself.
    if (change.origin === "local") return;
    dispatchEvent(new CustomEvent(MUTATED, { detail: mutatedParts(dexie, databaseName, change) }));
  });
}

function isDexie4(dexie: DexieClass): dexie is DexieParts {
  return "RangeSet" in dexie && "connections" in dexie;
}

function mutatedParts(
  dexie: DexieParts,
  databaseName: string,
  { store, keys }: ChangeEvent,
): Record<string, DexieRanges> {
  const everything = (): DexieRanges => new dexie.RangeSet(-Infinity, dexie.maxKey);
  const prefix = `idb://${databaseName}/${store}/`;
  const primary = keys === null ? everything() : new dexie.RangeSet();
  for (const key of keys ?? []) primary.addKey(key);
  const parts: Record<string, DexieRanges> = { [prefix]: primary, [`${prefix}:dels`]: primary };
  // Nobody knows which index entries the rows had before.
  for (const { name } of indexesOf(dexie, databaseName, store)) parts[prefix + name] = everything();
  return parts;
}

function indexesOf(dexie: DexieParts, databaseName: string, store: string): readonly { readonly name: string }[] {
  const database = dexie.connections.find(({ name }) => name === databaseName);
  return database?.tables.find(({ name }) => name === store)?.schema.indexes ?? [];
}
