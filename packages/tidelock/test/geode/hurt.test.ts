/** Documents and keys that hurt, in both directions. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { flushed, until, untilPhase } from "../browser/stack.ts";
import { onGeode } from "./cluster.ts";
import type { Java } from "./cluster.ts";

const COLLECTIONS = { plain: { region: "docs" }, people: { region: "people" } } as const;
const SPEC = { stores: [{ name: "plain" }, { name: "people" }] } as const;

/** Bytes of a text that leaves room for the rest of its document below the limit of 1 MiB. */
const LONG = 1_048_000;
const DEPTH = 60;

function nested(depth: number): unknown {
  return depth === 0 ? "end" : depth % 2 === 0 ? { in: nested(depth - 1) } : [depth, nested(depth - 1)];
}

void test("what a browser writes comes back whole through Geode", { timeout: 180_000 }, async () => {
  await onGeode(COLLECTIONS, async ({ stack, java }) => {
    const page = await stack.client(SPEC);
    // Every kind of key, and every kind of value that JSON lacks.
    await page.evaluate(() => driver.putExotic("plain"));
    const long = { text: "é".repeat(LONG / 2) };
    const deep = nested(DEPTH);
    const wide = Object.fromEntries(Array.from({ length: 1_000 }, (_, at) => [`member ${at} "\\/\u2028 😀`, at]));
    const odd = { "": 1, "~": 2, "a.b": { "c/d": 3 }, $type: "x", "😀": "\u{10ffff}\u0000\u001f", __proto: [] };
    const rows = { long, deep, wide, odd };
    for (const [key, value] of Object.entries(rows))
      await page.evaluate(([name, text]) => driver.run([{ ops: [["put", "plain", JSON.parse(text), name]] }]), [
        key,
        JSON.stringify(value),
      ] as const);
    await flushed(page);
    assert.deepEqual(await page.evaluate(() => driver.rejected()), []);
    for (const [key, value] of Object.entries(rows)) assert.deepEqual(await java.get("docs", key), value, key);
    assert.equal(await java.run("get", "docs", "~n42"), "java.lang.String number key");
    assert.equal(await java.run("get", "docs", '~a["a","~n1","~d2","~a[\\"b\\"]"]'), "java.lang.String array key");
    assert.equal(await java.run("get", "docs", "~bAID_"), "java.lang.String binary key");
    assert.equal(await java.run("get", "docs", "~s"), "java.lang.String empty key");

    const other = await stack.client({ ...SPEC, user: "bob" });
    await untilPhase(other, "live");
    const exotic = await page.evaluate(() => driver.exotic());
    const here = await page.evaluate(() => driver.describe("plain"));
    const there = await until(
      "the other browser has all rows",
      () => other.evaluate(() => driver.describe("plain")),
      ({ length }) => length === here.length,
    );
    assert.deepEqual(there, here);
    for (const row of exotic)
      assert.ok(
        there.some((one) => JSON.stringify(one) === JSON.stringify(row)),
        row[0],
      );
  });
});

void test("what Java writes arrives as it is, or is named", { timeout: 180_000 }, async () => {
  await onGeode(
    COLLECTIONS,
    async ({ stack, java }) => {
      const page = await stack.client(SPEC);
      await untilPhase(page, "live");
      const describe = async (store: string): Promise<Record<string, string>> =>
        Object.fromEntries(await page.evaluate((name) => driver.describe(name), store));
      await java.run("put-numbers", "docs", "numbers");
      await java.run("put-text-of", "docs", "long", '{"text":"@long"}', "é", String(LONG / 2));
      await java.put("docs", "deep", nested(DEPTH));
      await java.put("docs", "~n7", { key: "a number" });
      await java.put("docs", '~a["x","~n1"]', { key: "an array" });
      await java.put("docs", "~d1700000000000", { key: "a date" });
      await java.put("docs", "ключ / % ? # 😀", { key: "text" });
      // None of these is a document; the next one is.
      await java.put("docs", "~x is no form", { never: true });
      await java.run("put-integer-key", "docs", "6", "six");
      await java.run("put-key", "docs", "serializable", "while it is up", "{}");
      await java.run("put-key", "docs", "data-serializable", "while it is up", "{}");
      await java.run("put-opaque", "docs", "opaque2");
      await java.run("put-person", "people", "ada");
      await java.put("docs", "last", { last: true });
      await until(
        "the last one is here",
        () => describe("plain"),
        (rows) => '"last"' in rows,
      );
      const rows = await describe("plain");
      const long = rows['"long"'];
      assert.equal(long, `{"text":"${"é".repeat(LONG / 2)}"}`);
      assert.deepEqual(Object.keys(rows).sort(), [
        '"deep"',
        '"last"',
        '"long"',
        '"numbers"',
        '"ключ / % ? # 😀"',
        "7",
        "Date(1700000000000)",
        '["x",1]',
      ]);
      assert.equal(
        rows['"numbers"'],
        '{"huge":-123456789012345678901234567890n,"infinite":"-Infinity","large":1.7976931348623157e+308,' +
          '"least":-9223372036854775808n,"letter":"€","mixed":[1,2,0.5,"x",null,true,"1970-01-01T00:00:00.005Z"],' +
          '"most":9223372036854775807n,"nan":"NaN","odd":9007199254740993n,"single":0.1,"tiny":5e-324,"whole":5}',
      );
      assert.match((await describe("people"))['"ada"'] ?? "", /"big":9223372036854775807n.*"name":"Ada €"/);

      // An edit of one member leaves the others as Java wrote them.
      await java.run(
        "put-json",
        "docs",
        "prices",
        '{"n":1,"price":5.0,"big":9007199254740993,"huge":12345678901234567890123}',
      );
      await until(
        "the prices are here",
        () => describe("plain"),
        (all) => '"prices"' in all,
      );
      await page.evaluate(() => driver.run([{ ops: [["increment", "plain", "prices", ["n"]]] }]));
      await flushed(page);
      assert.equal(
        await java.run("get", "docs", "prices"),
        '__GEMFIRE_JSON {"n":2,"price":5.0,"big":9007199254740993,"huge":12345678901234567890123}',
      );
      assert.equal(await java.run("types", "docs", "prices"), "{big:Long,huge:BigInteger,n:Byte,price:Double}");
      // An object of a Java class becomes a JSON document with the first edit of a browser.
      await page.evaluate(() => driver.run([{ ops: [["increment", "people", "ada", ["age"]]] }]));
      await flushed(page);
      assert.match(
        await java.run("get", "people", "ada"),
        /^__GEMFIRE_JSON .*"age":37,"name":"Ada .u20AC","big":9223372036854775807,/,
      );
      // What is no document is left alone.
      assert.equal(await java.run("get", "docs", "opaque"), "java.lang.StringBuilder only Java reads this");
      assert.equal(await java.run("get-integer-key", "docs", "5"), "java.lang.String five");
      // The server's log has named what it passes over: what was there at the start, and what it heard of.
      const passedOver = [
        "entries whose keys are no strings, or begin with '~', are not synced region=\"/docs\" entries=4",
        'entries that are no documents are passed over; this is the first region="/docs" entries=2 key="bytes"',
        "Integer(6)",
        "~x is no form",
        "document=plain/opaque2",
        "java.lang.StringBuilder",
      ];
      for (const text of passedOver) assert.ok(stack.log.includes(text), `${text} is not in the log: ${stack.log}`);
    },
    noDocuments,
  );
});

/** What is there before the server is. */
async function noDocuments(java: Java): Promise<void> {
  await java.put("docs", "~n07", { never: true });
  await java.run("put-integer-key", "docs", "5", "five");
  await java.run("put-key", "docs", "serializable", "at the start", "{}");
  await java.run("put-key", "docs", "data-serializable", "at the start", "{}");
  await java.run("put-opaque", "docs", "opaque");
  await java.run("put-bytes", "docs", "bytes");
}
