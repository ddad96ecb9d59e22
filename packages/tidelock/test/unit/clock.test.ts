import assert from "node:assert/strict";
import { test } from "node:test";
import { Clock } from "../../src/worker/clock.ts";

const DAY = 86_400_000;

void test("a clock that is set back a day goes on, and one that is set ahead is followed", () => {
  let wall = 10 * DAY;
  let ticks = 5;
  const clock = new Clock(
    () => wall,
    () => ticks,
  );
  const pass = (milliseconds: number, set = 0): number => {
    wall += milliseconds + set;
    ticks += milliseconds;
    return clock.now();
  };
  assert.equal(pass(100), 10 * DAY + 100);
  assert.equal(pass(1_000, -DAY), 10 * DAY + 1_100);
  assert.equal(pass(2_000.5), 10 * DAY + 3_100);
  assert.equal(pass(0, 2 * DAY), 11 * DAY + 3_100);
});
