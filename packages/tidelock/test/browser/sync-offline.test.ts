/** Mixed writes offline, a reload and a kill -9 meanwhile: the server ends up with exactly the right state, and so does another profile. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isDeepStrictEqual } from "node:util";
import type { Page } from "playwright-core";
import { seedOf } from "./harness.ts";
import { randomFrom } from "./pages/capture-programs.ts";
import type { Op, OpenSpec, Tx } from "./pages/sync-driver.ts";
import { flushed, until, untilPhase, withStack } from "./stack.ts";
import type { Stack } from "./stack.ts";

const WRITES = 2000;
const STORES = ["items", "counts", "left", "right"];
const SPEC: OpenSpec = {
  stores: [{ name: "items", keyPath: "id" }, { name: "counts" }, { name: "left" }, { name: "right" }],
  offline: true,
};
/** Rows that are there, confirmed by the server, before the browser goes offline. */
const ROWS_BEFORE = 60;

void test("2,000 mixed writes offline, reloaded and killed", { timeout: 180_000 }, async () => {
  const random = randomFrom(seedOf("sync offline"));
  await withStack({}, async (stack) => {
    const model = new Model();
    const writer = new Writer(random, model);
    const profile = await stack.profile();
    const first = await stack.browser(profile);
    let page = await stack.page(first, { ...SPEC, offline: false });
    await writer.fill(page);
    await flushed(page);
    await page.evaluate(() => driver.offline());
    await untilPhase(page, "offline");
    const other = await stack.client({ ...SPEC, offline: false, user: "bob" });
    await other.evaluate(() => driver.watchPairs("left", "right"));
    const before = await serverState(stack);

    await writer.write(page, WRITES / 4);
    await page.reload();
    await page.evaluate((spec) => driver.open(spec), SPEC);
    await writer.write(page, WRITES / 2);
    await first.kill();
    page = await stack.page(await stack.browser(profile), SPEC);
    await writer.write(page, WRITES);
    await page.reload();
    await page.evaluate((spec) => driver.open(spec), SPEC);
    assert.deepEqual(await serverState(stack), before, "nothing reaches the server while offline");
    assert.deepEqual(await localState(page), model.state(), "the local rows are what was written");

    const start = Date.now();
    await page.evaluate(() => driver.online());
    await flushed(page);
    console.log(
      `sync offline: ${writer.count} writes in ${writer.transactions} transactions (${writer.aborted} aborted), pushed in ${Date.now() - start} ms`,
    );
    assert.deepEqual(await serverState(stack), model.state(), "the server holds exactly the right state");
    assert.deepEqual(await localState(page), model.state(), "the push leaves the local rows alone");
    await until(
      "the other profile converges",
      () => localState(other),
      (state) => isDeepStrictEqual(state, model.state()),
    );
    assert.deepEqual(await other.evaluate(() => driver.torn), [], "no transaction is visible in part");
    assert.deepEqual(await page.evaluate(() => driver.rejected()), []);
    assert.deepEqual(await page.evaluate(() => driver.heard.errors), []);
  });
});

type State = Record<string, Record<string, unknown>>;

/** What the rows have to be: IndexedDB's rules for string keys. */
class Model {
  private readonly stores = new Map(STORES.map((name) => [name, new Map<string, unknown>()]));

  rows(store: string): Map<string, unknown> {
    const rows = this.stores.get(store);
    if (rows === undefined) throw new Error(`no store ${store}`);
    return rows;
  }

  /** Whether the transaction commits. */
  apply({ ops, abort }: Tx): boolean {
    const before = new Map([...this.stores].map(([name, rows]) => [name, new Map(rows)]));
    if (abort !== true && ops.every((op) => this.applyOne(op))) return true;
    for (const [name, rows] of before) this.stores.set(name, rows);
    return false;
  }

  private applyOne(op: Op): boolean {
    const rows = this.rows(op[1]);
    const within = (lower: unknown, upper: unknown): string[] =>
      [...rows.keys()].filter((key) => key >= String(lower) && key <= String(upper));
    switch (op[0]) {
      case "add":
      case "put": {
        const key = String(op[3] ?? (op[2] as { id: string }).id);
        if (op[0] === "add" && rows.has(key)) return false;
        rows.set(key, op[2]);
        return true;
      }
      case "delete":
        rows.delete(String(op[2]));
        return true;
      case "clear":
        rows.clear();
        return true;
      case "increment": {
        const row = rows.get(String(op[2])) as Record<string, number>;
        rows.set(String(op[2]), { ...row, ...Object.fromEntries(op[3].map((name) => [name, (row[name] ?? 0) + 1])) });
        return true;
      }
      case "range":
      case "cursorDelete":
        for (const key of within(op[2], op[3])) rows.delete(key);
        return true;
      case "cursorUpdate":
        for (const key of within(op[2], op[3])) rows.set(key, { ...(rows.get(key) as object), [op[4]]: op[5] });
        return true;
    }
  }

  state(): State {
    return Object.fromEntries(
      [...this.stores].map(([name, rows]) => [
        name,
        Object.fromEntries([...rows].sort(([a], [b]) => (a < b ? -1 : 1))),
      ]),
    );
  }
}

/** Draws transactions, runs them in a page, and checks that they end as the model says. */
class Writer {
  count = 0;
  transactions = 0;
  aborted = 0;
  private readonly random: () => number;
  private readonly model: Model;

  constructor(random: () => number, model: Model) {
    this.random = random;
    this.model = model;
  }

  /** Rows to begin with. */
  async fill(page: Page): Promise<void> {
    const ops: Op[] = [];
    for (let index = 0; index < ROWS_BEFORE; index++)
      ops.push(["put", "items", { id: this.key(index), n: index }], ["put", "counts", { n: index }, this.key(index)]);
    await this.run(page, [{ ops }]);
    this.count = 0;
  }

  /** Writes until `total` requests were made in all. */
  async write(page: Page, total: number): Promise<void> {
    while (this.count < total) {
      const batch: Tx[] = [];
      for (let size = 0; size < 40 && this.count < total; size++) batch.push(this.draw());
      await this.run(page, batch);
    }
  }

  private async run(page: Page, batch: readonly Tx[]): Promise<void> {
    const expected = batch.map((transaction) => this.model.apply(transaction));
    const outcomes = await page.evaluate((given) => driver.run(JSON.parse(given) as Tx[]), JSON.stringify(batch));
    assert.deepEqual(
      outcomes.map((failure) => failure === null),
      expected,
    );
    this.transactions += batch.length;
    this.aborted += expected.filter((committed) => !committed).length;
  }

  private draw(): Tx {
    const ops: Op[] = [];
    if (this.below(4) === 0) this.addPair(ops);
    else
      for (let count = 1 + this.below(4); count > 0; count--)
        ops.push(this.op(this.below(2) === 0 ? "items" : "counts"));
    this.count += ops.length;
    return this.below(10) === 0 ? { ops, abort: true } : { ops };
  }

  /** The stores `left` and `right` are changed alike in one transaction, so that a torn one shows. */
  private addPair(ops: Op[]): void {
    const key = `p${this.below(20)}`;
    const value = { stamp: this.count };
    const kind = this.below(12);
    for (const store of ["left", "right"]) {
      if (kind === 0) ops.push(["clear", store]);
      else if (kind <= 2) ops.push(["delete", store, key]);
      else ops.push(["put", store, value, key]);
    }
  }

  private op(store: string): Op {
    const id = this.key(this.below(200));
    const value = { id, n: this.count, text: "x".repeat(this.below(60)) };
    const [lower, upper] = [id, this.key(Number(id.slice(1)) + this.below(8))];
    switch (this.below(16)) {
      case 0:
        return ["delete", store, id];
      case 1:
        return ["range", store, lower, upper];
      case 2:
        return ["cursorDelete", store, lower, upper];
      case 3:
      case 4:
        return ["cursorUpdate", store, lower, upper, "seen", this.count];
      case 5:
        return this.below(30) === 0 ? ["clear", store] : ["delete", store, id];
      case 6:
        return store === "items" ? ["add", store, value] : ["add", store, value, id];
      default:
        return store === "items" ? ["put", store, value] : ["put", store, value, id];
    }
  }

  private key(number: number): string {
    return `k${String(number).padStart(4, "0")}`;
  }

  private below(bound: number): number {
    return Math.floor(this.random() * bound);
  }
}

async function localState(page: Page): Promise<State> {
  const state: State = {};
  for (const store of STORES) {
    const rows = await page.evaluate((name) => driver.dump(name), store);
    state[store] = Object.fromEntries(rows.map(([key, value]) => [String(key), value]));
  }
  return state;
}

async function serverState(stack: Stack): Promise<State> {
  const state: State = {};
  for (const store of STORES) state[store] = await stack.state(store);
  return state;
}
