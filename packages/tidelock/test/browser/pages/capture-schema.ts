/** Cases of the schema: names, upgrades, renaming. Each runs in a page of its own. */
import { outboxName } from "../../../src/capture/index.ts";
import { hiddenNames, nativeVersionOf, stores, upgrade } from "./capture-fixtures.ts";
import { check, equal, nativeStores, open, outbox, setup, thrown } from "./kit.ts";
import type { Cases } from "./kit.ts";

export const schema: Cases = {
  async "the application sees its stores and its version"() {
    const { name, factory, calls } = setup(["a", "b"]);
    const versions: unknown[] = [];
    const db = await open(factory, name, 3, (database, event, transaction) => {
      versions.push(event.oldVersion, event.newVersion, database.version);
      database.createObjectStore("a");
      database.createObjectStore("z");
      versions.push([...transaction.objectStoreNames]);
    });
    equal(versions, [0, 3, 3, ["a", "z"]]);
    equal([...db.objectStoreNames], ["a", "z"]);
    equal(db.version, 3);
    const transaction = db.transaction(["a", "z"], "readwrite");
    equal([...transaction.objectStoreNames], ["a", "z"]);
    equal(await nativeStores(name), stores("a", "z", outboxName("a")));
    equal(await nativeVersionOf(name), 3 * 16 + 1);
    equal(calls, [`opened ${name}`]);
    equal([...(await outbox(name, "a"))], [], "marks of an empty store");
  },

  async "the list of stores is a DOMStringList in every way"() {
    const { name, factory } = setup(["b"]);
    const db = await open(factory, name, 1, (database) =>
      ["c", "a", "b"].map((store) => database.createObjectStore(store)),
    );
    const list = db.objectStoreNames;
    check(list instanceof DOMStringList, "instanceof");
    equal(Object.prototype.toString.call(list), "[object DOMStringList]");
    equal([list.length, list[0], list[2], list[3], list.item(1), list.item(9)], [3, "a", "c", undefined, "b", null]);
    equal(
      [list.contains("b"), list.contains(outboxName("b")), list.contains(hiddenNames[0] ?? "")],
      [true, false, false],
    );
    equal(
      [Object.keys(list), Array.from(list), [...list].length, 2 in list, 3 in list],
      [["0", "1", "2"], ["a", "b", "c"], 3, true, false],
    );
    equal(Array.prototype.slice.call(list), ["a", "b", "c"]);
    equal(JSON.stringify(list), '{"0":"a","1":"b","2":"c"}');
  },

  async "hidden stores cannot be named"() {
    const { name, factory } = setup(["a"]);
    const hidden = outboxName("a");
    const errors: string[] = [];
    const db = await open(factory, name, 1, (database, _event, transaction) => {
      const store = database.createObjectStore("a");
      errors.push(thrown(() => database.createObjectStore(hidden)));
      errors.push(thrown(() => database.deleteObjectStore(hidden)));
      errors.push(thrown(() => transaction.objectStore(hidden)));
      errors.push(thrown(() => (store.name = outboxName("z"))));
      equal(store.name, "a");
    });
    equal(errors, ["ConstraintError", "NotFoundError", "NotFoundError", "ConstraintError"]);
    equal(
      thrown(() => db.transaction(hidden)),
      "NotFoundError",
    );
    equal(
      thrown(() => db.transaction(["a", hidden], "readwrite")),
      "NotFoundError",
    );
    equal(
      thrown(() => db.transaction("a", "readwrite").objectStore(hidden)),
      "NotFoundError",
    );
  },

  async "writes inside an upgrade are captured"() {
    const { name, factory, captured } = setup(["a"]);
    await open(factory, name, 1, (database) => void database.createObjectStore("a").put(1, "k"));
    equal(
      (await outbox(name, "a")).map(({ k, r }) => [k, r]),
      [[["k"], []]],
    );
    equal([...(captured[0] ?? [])], [["a", { keys: ["k"] }]]);
  },

  async "an upgrade that fails leaves nothing"() {
    const { name, factory, captured } = setup(["a"]);
    const error = await open(factory, name, 1, (database, _event, transaction) => {
      database.createObjectStore("a").put(1, "k");
      transaction.abort();
    }).catch((reason: DOMException) => reason.name);
    equal(error, "AbortError");
    equal(captured, []);
    equal(
      (await indexedDB.databases()).filter((info) => info.name === name),
      [],
    );
  },

  async "deleting a store deletes its outbox; a store that takes its name is compared"() {
    const { name } = setup([]);
    await upgrade(name, ["a", "b"], 1, (database) => {
      database.createObjectStore("a").put(1, "k");
      database.createObjectStore("b");
    });
    await upgrade(name, ["a", "b"], 2, (database) => {
      database.deleteObjectStore("a");
      database.deleteObjectStore("b");
      database.createObjectStore("b", { keyPath: "id" }).put({ id: 5 });
    });
    equal(await nativeStores(name), stores("b", outboxName("b")));
    equal(
      (await outbox(name, "b")).map(({ k, adopt }) => [k, adopt]),
      [
        [[], true],
        [[5], undefined],
      ],
    );
  },

  async "renaming keeps the outbox in step"() {
    const { name } = setup([]);
    await upgrade(name, ["a", "b", "in"], 1, (database) => {
      for (const store of ["a", "b", "out"]) database.createObjectStore(store).put(1, "k");
    });
    await upgrade(name, ["a", "b", "in", "moved"], 2, (_database, _event, transaction) => {
      const a = transaction.objectStore("a");
      a.put(2, "unsent");
      a.name = "moved";
      a.put(3, "after");
      transaction.objectStore("b").name = "away";
      transaction.objectStore("out").name = "in";
    });
    equal(await nativeStores(name), stores("away", "in", "moved", outboxName("in"), outboxName("moved")));
    const moved = await outbox(name, "moved");
    equal(
      moved.flatMap(({ k }) => k),
      ["k", "unsent", "after"],
    );
    equal(moved.filter(({ adopt }) => adopt).length, 1, "adoption of the renamed store");
    equal(
      (await outbox(name, "in")).map(({ k, adopt }) => [k, adopt]),
      [[[], true]],
    );
  },

  async "stores swap names"() {
    const { name } = setup([]);
    await upgrade(name, ["a", "b"], 1, (database) => ["a", "b"].forEach((store) => database.createObjectStore(store)));
    await upgrade(name, ["a", "b"], 2, (_database, _event, transaction) => {
      const [a, b] = [transaction.objectStore("a"), transaction.objectStore("b")];
      a.name = "passing";
      b.name = "a";
      a.name = "b";
      a.put(1, "in b");
    });
    equal(await nativeStores(name), stores("a", "b", outboxName("a"), outboxName("b")));
    equal(
      (await outbox(name, "b")).flatMap(({ k }) => k),
      ["in b"],
    );
  },

  async "a version drops the outboxes of stores that are opted out"() {
    const { name } = setup([]);
    await upgrade(name, ["a", "b"], 1, (database) => ["a", "b"].forEach((store) => database.createObjectStore(store)));
    await upgrade(name, ["a"], 1, () => undefined);
    equal(await nativeStores(name), stores("a", "b", outboxName("a"), outboxName("b")), "same version");
    await upgrade(name, ["a"], 2, () => undefined);
    equal(await nativeStores(name), stores("a", "b", outboxName("a")), "next version");
  },
};
