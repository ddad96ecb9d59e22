/** One document that two writers change in every field, and what becomes of it: each field has a strategy of its own. */
import assert from "node:assert/strict";
import type { Page } from "playwright-core";
import type { Op } from "./pages/sync-driver.ts";
import { until } from "./stack.ts";

/** The fields of a collection's conflict policy, as the configuration has them. */
export const FIELDS = `votes = "sum"
labels = "union"
text = "text"
list = { list = "id" }
low = "min"
high = "max"
last = "last-write"
first = "first-write"
newest = "newest"`;

/** What both change. */
export const BASE: object = {
  a: 0,
  b: 0,
  votes: 10,
  labels: ["x", "y"],
  text: "one\ntwo\nthree\n",
  list: [
    { id: 1, n: 1 },
    { id: 2, n: 2 },
  ],
  low: 5,
  high: 5,
  ...signed("base"),
};

/** The edit of one writer, who leaves his name in the fields that one of them wins. */
export function oneEdit(name: string): object {
  return {
    ...BASE,
    a: 1,
    votes: 12,
    labels: ["x", "y", "z"],
    text: "ONE\ntwo\nthree\n",
    list: [
      { id: 1, n: 11 },
      { id: 2, n: 2 },
    ],
    low: 3,
    high: 7,
    ...signed(name),
  };
}

/** The edit of the other one. */
export function otherEdit(name: string): object {
  return {
    ...BASE,
    b: 1,
    votes: 11,
    labels: ["x"],
    text: "one\ntwo\nTHREE\n",
    list: [
      { id: 1, n: 1 },
      { id: 2, n: 2 },
      { id: 3, n: 3 },
    ],
    low: 4,
    high: 9,
    ...signed(name),
  };
}

/** What becomes of both, by who arrived first, who arrived last, and whose edit was made last. */
export function merged(first: string, last: string, newest: string): object {
  return {
    a: 1,
    b: 1,
    votes: 13,
    labels: ["x", "z"],
    text: "ONE\ntwo\nTHREE\n",
    list: [
      { id: 1, n: 11 },
      { id: 2, n: 2 },
      { id: 3, n: 3 },
    ],
    low: 3,
    high: 9,
    last,
    first,
    newest,
  };
}

function signed(name: string): { last: string; first: string; newest: string } {
  return { last: name, first: name, newest: name };
}

/** Each operation in a transaction of its own. */
export async function write(page: Page, ops: readonly Op[]): Promise<void> {
  const outcomes = await page.evaluate(
    (given) => driver.run((JSON.parse(given) as Op[]).map((op) => ({ ops: [op] }))),
    JSON.stringify(ops),
  );
  assert.ok(
    outcomes.every((failure) => failure === null),
    String(outcomes),
  );
}

/** Waits until the clock has moved: edits of different writers must not have the same time. */
export async function later(): Promise<void> {
  const now = Date.now();
  await until(
    "the clock has moved",
    () => Date.now(),
    (time) => time > now + 1,
  );
}

/** A value as text, whatever the order of its members. */
export function canonical(value: unknown): string {
  return JSON.stringify(value, (_, member: unknown) =>
    typeof member === "object" && member !== null && !Array.isArray(member)
      ? Object.fromEntries(Object.entries(member).sort())
      : member,
  );
}
