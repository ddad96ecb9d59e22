/** Databases that the cases of the schema and of opening start from. */
import { HIDDEN_STORES } from "../../../src/capture/index.ts";
import { natively, open, setup } from "./kit.ts";
import type { Upgrade } from "./kit.ts";

export const hiddenNames: readonly string[] = HIDDEN_STORES.map(({ name }) => name);

/** What the native database has, hidden names and outboxes included, sorted. */
export function stores(...names: readonly string[]): string[] {
  return [...hiddenNames, ...names].sort();
}

export const nativeVersionOf = (name: string): Promise<number> => natively(name, (database) => database.version);

/** A native, un-adopted database with rows in `full` and none in `empty`. */
export async function populated(name: string, version: number): Promise<void> {
  const database = await open(indexedDB, name, version, (created) => {
    created.createObjectStore("full").put("row", 1);
    created.createObjectStore("empty");
    created.createObjectStore("other").put("row", 1);
  });
  database.close();
}

/** Opens with a newer version through a factory for `optedIn`, then closes. */
export async function upgrade(name: string, optedIn: readonly string[], version: number, work: Upgrade): Promise<void> {
  const { factory } = setup(optedIn, name);
  (await open(factory, name, version, work)).close();
}
