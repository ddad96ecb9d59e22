/** What tests need of a platform: a server over it, and another application that uses it by the platform's own client. */
import type { Stack } from "../browser/stack.ts";

/** The other application. Documents are named by the collection's name and their key on the platform. */
export interface Application {
  /** `null` when there is no document. */
  get(collection: string, key: string): Promise<unknown>;
  put(collection: string, key: string, document: object): Promise<void>;
  remove(collection: string, key: string): Promise<void>;
}

/** What a test has. */
export interface Given {
  readonly stack: Stack;
  readonly application: Application;
}

/** Runs a test body over empty collections, with lines of their configuration; ends everything whatever happens. */
export type On = (
  collections: Readonly<Record<string, string>>,
  body: (given: Given) => Promise<void>,
) => Promise<void>;
