/** The board read from rows that anyone may have written. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { compare, idOf, matches, Parsed, retype, UNSORTED_ID, type BoardModel, type Rows } from "../../src/model.ts";

function assemble(rows: Rows): BoardModel {
  return new Parsed(rows).assemble();
}

function rows(part: Partial<Rows>): Rows {
  return { lists: [], cards: [], labels: [], ...part };
}

void test("cards lie in the order that their list names, unnamed ones after it by age", () => {
  const model = assemble(
    rows({
      lists: [{ id: "l", name: "L", position: 0, order: ["b", "gone", "a", "b"] }],
      cards: [
        { id: "a", list: "l", title: "A" },
        { id: "late", list: "l", title: "Late", createdAt: new Date(2) },
        { id: "early", list: "l", title: "Early", createdAt: "1970-01-01T00:00:00.001Z" },
        { id: "b", list: "l", title: "B" },
      ],
    }),
  );
  assert.deepEqual(
    model.lists[0]?.cards.map((card) => card.id),
    ["b", "a", "early", "late"],
  );
});

void test("no row can break the board", () => {
  const strange: unknown[] = [null, undefined, 7, "text", [], new Date(0), {}, { id: {} }, { id: null }, new Map()];
  const values: unknown[] = [
    undefined,
    null,
    1n,
    NaN,
    Infinity,
    -1,
    "",
    "x",
    [],
    [null, 3, {}],
    {},
    new Date(NaN),
    true,
  ];
  const cards = values.map((value, n) => ({
    id: n,
    list: value,
    title: value,
    description: value,
    labels: value,
    votes: value,
    assignee: value,
    due: value,
    checklist: value,
    done: value,
    createdAt: value,
  }));
  const lists = values.map((value, n) => ({ id: `l${n}`, name: value, position: value, order: value }));
  const labels = values.map((value, n) => ({ id: `t${n}`, name: value, color: value }));
  const model = assemble({
    lists: [...strange, ...lists],
    cards: [...strange, ...cards],
    labels: [...strange, ...labels],
  });
  assert.equal(model.cards.size, values.length);
  assert.equal(model.labels.size, values.length);
  const shown = model.lists.flatMap((list) => list.cards);
  assert.equal(shown.length, values.length, "each card is shown exactly once");
  assert.equal(new Set(shown.map((card) => card.id)).size, values.length);
  assert.ok(shown.every((card) => card.title !== ""));
  assert.equal(model.lists.at(-1)?.id, UNSORTED_ID);
  assert.deepEqual(compare(model, model), []);
});

void test("keys of different types never share an identity", () => {
  const keys = ["1", 1, new Date(1), [1], ["1"], [new Date(1)], new Uint8Array([1]), "\u0001number:1x"];
  assert.equal(new Set(keys.map(idOf)).size, keys.length);
});

void test("differences name what a person would notice", () => {
  const lists = [
    { id: "l", name: "To do", position: 0, order: [] },
    { id: "m", name: "Done", position: 1, order: [] },
  ];
  const card = { id: "c", list: "l", title: "Paint", votes: 1, labels: [] as string[] };
  const before = assemble(rows({ lists, cards: [card] }));
  const say = (after: object): string[] =>
    compare(before, assemble(rows({ lists, cards: [{ ...card, ...after }] }))).map((item) => item.text);
  assert.deepEqual(say({}), []);
  assert.deepEqual(say({ list: "m" }), ["“Paint” moved to Done"]);
  assert.deepEqual(say({ title: "Varnish" }), ["“Paint” renamed to “Varnish”"]);
  assert.deepEqual(say({ votes: 2n }), ["“Paint” has 2 votes"]);
  assert.deepEqual(say({ done: true }), ["“Paint” was completed"]);
  assert.deepEqual(say({ labels: ["x"], due: new Date(0) }), ["“Paint”: labels, due changed"]);
  assert.deepEqual(
    compare(before, assemble(rows({ lists: [lists[0]] }))).map((item) => item.text),
    ["“Paint” was deleted", "List “Done” was deleted"],
  );
});

void test("the filter wants all words and all labels", () => {
  const model = assemble(rows({ cards: [{ id: "c", title: "Paint the boat", assignee: "Ann", labels: ["x", "y"] }] }));
  const card = model.cards.get("c");
  assert.ok(card);
  const shown = (text: string, ...labels: string[]): boolean => matches(card, { text, labels: new Set(labels) });
  assert.ok(shown(""));
  assert.ok(shown(" BOAT ann ", "x", "y"));
  assert.ok(!shown("boat ben"));
  assert.ok(!shown("", "x", "z"));
});

void test("an edit is made on the text as it became meanwhile", () => {
  const base = "one two three";
  assert.equal(retype(base, "one 2 three", base), "one 2 three");
  assert.equal(retype(base, "one two three four", "zero one two three"), "zero one two three four");
  assert.equal(retype(base, "zero one two three", "one two three four"), "zero one two three four");
  assert.equal(retype(base, "one two 3", "1 two three"), "1 two 3");
  assert.equal(retype(base, "one TWO three", "one II three"), "one TWO three", "the same place: the typed text stands");
  assert.equal(retype("", "a", "b"), "ab");
});
