/** Cases of the schema and of opening: adoption, versions, upgrades, names. Each runs in a page of its own. */
import { HIDDEN_STORES, outboxName, wrapFactory } from "../../../src/capture/index.ts";
import { check, completed, done, equal, natively, nativeStores, open, outbox, setup, thrown, turn } from "./kit.ts";
import type { Cases, Upgrade } from "./kit.ts";

const hiddenNames = HIDDEN_STORES.map(({ name }) => name);

/** What the native database has, hidden names and outboxes included, sorted. */
function stores(...names: readonly string[]): string[] {
  return [...hiddenNames, ...names].sort();
}

const nativeVersionOf = (name: string): Promise<number> => natively(name, (database) => database.version);

/** A native, un-adopted database with rows in `full` and none in `empty`. */
async function populated(name: string, version: number): Promise<void> {
  const database = await open(indexedDB, name, version, (created) => {
    created.createObjectStore("full").put("row", 1);
    created.createObjectStore("empty");
    created.createObjectStore("other").put("row", 1);
  });
  database.close();
}

/** Opens with a newer version through a factory for `optedIn`, then closes. */
async function upgrade(name: string, optedIn: readonly string[], version: number, work: Upgrade): Promise<void> {
  const { factory } = setup(optedIn, name);
  (await open(factory, name, version, work)).close();
}

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

  async "adoption with the version the database has is silent and marks populated stores"() {
    const { name, factory, captured } = setup(["full", "empty", "absent"]);
    await populated(name, 4);
    let upgrades = 0;
    const db = await open(factory, name, 4, () => upgrades++);
    equal([upgrades, db.version, [...db.objectStoreNames]], [0, 4, ["empty", "full", "other"]]);
    equal(await done(db.transaction("full").objectStore("full").get(1)), "row");
    equal(
      (await outbox(name, "full")).map(({ k, r, adopt }) => [k, r, adopt]),
      [[[], [], true]],
    );
    equal(await outbox(name, "empty"), []);
    equal(await nativeStores(name), stores("empty", "full", "other", outboxName("empty"), outboxName("full")));
    equal([...(captured[0] ?? [])], [["full", { keys: null }]]);
  },

  async "adoption happens within the application's upgrade"() {
    const { name, factory, captured } = setup(["full", "fresh", "other"]);
    await populated(name, 4);
    const seen: unknown[] = [];
    const db = await open(factory, name, 5, (database, event) => {
      seen.push(event.oldVersion, event.newVersion, [...database.objectStoreNames]);
      database.createObjectStore("fresh").put(1, 1);
      database.deleteObjectStore("other");
    });
    equal(seen, [4, 5, ["empty", "full", "other"]]);
    equal(db.version, 5);
    equal(
      (await outbox(name, "full")).map(({ adopt }) => adopt),
      [true],
    );
    equal(
      (await outbox(name, "fresh")).map(({ k, adopt }) => [k, adopt]),
      [[[1], undefined]],
    );
  },

  async "adoption by open() without a version"() {
    const { name, factory, calls } = setup(["full"]);
    await populated(name, 20);
    const request = factory.open(name);
    const events: string[] = [];
    for (const type of ["upgradeneeded", "success", "error", "blocked"]) {
      request.addEventListener(type, (event) => events.push(`${event.type} ${request.readyState}`));
    }
    equal(request.readyState, "pending");
    const db = await done(request);
    check(request.result === db && request.error === null && request.transaction === null, "request");
    equal(events, ["success done"]);
    equal([db.version, await nativeVersionOf(name)], [20, 20 * 16 + 1]);
    equal((await outbox(name, "full")).length, 1);
    equal(calls, [`opened ${name}`]);
    db.close();
    const again = await open(factory, name);
    equal(again.version, 20);
    equal((await outbox(name, "full")).length, 1, "adopted once");
  },

  async "open() without a version creates version 1, which version 1 then opens"() {
    const { name, factory } = setup(["a"]);
    const versions: unknown[] = [];
    const work: Upgrade = (database, event) => {
      versions.push(event.oldVersion, event.newVersion);
      if (!database.objectStoreNames.contains("a")) database.createObjectStore("a");
    };
    for (const version of [undefined, undefined, 1, 1, undefined, 2]) {
      const db = await open(factory, name, version, work);
      versions.push(db.version);
      db.close();
    }
    equal(versions, [0, 1, 1, 1, 1, 1, 1, 1, 2, 2]);
    equal(await nativeStores(name), stores("a", outboxName("a")));
  },

  async "an older version is refused, adopted or not, and nothing is touched"() {
    for (const [existing, requested] of [
      [20, 2],
      [40, 2],
      [33, 2],
      [1000, 2],
    ] as const) {
      const { name, factory } = setup(["full"]);
      await populated(name, existing);
      const request = factory.open(name, requested);
      const error = await done(request).catch((reason: DOMException) => reason.name);
      equal([error, request.error?.name, request.readyState], ["VersionError", "VersionError", "done"]);
      equal(await nativeVersionOf(name), existing, "version");
      equal(await nativeStores(name), ["empty", "full", "other"]);
      (await open(factory, name, existing)).close();
      const message = await open(factory, name, requested).catch((reason: DOMException) => reason.message);
      equal(message, `The requested version (${requested}) is less than the existing version (${existing}).`);
    }
  },

  async "a store opted in later is adopted by a sub-version"() {
    const { name } = setup([]);
    await populated(name, 3);
    (await open(setup(["full"], name).factory, name, 3)).close();
    for (const version of [3, undefined]) {
      const store = version === undefined ? "other" : "empty";
      const { factory, captured } = setup(["full", "empty", store], name);
      let upgrades = 0;
      const db = await open(factory, name, version, () => upgrades++);
      equal([upgrades, db.version], [0, 3]);
      db.transaction(store, "readwrite").objectStore(store).put(1, "k");
      while (!captured.some((marks) => marks.get(store)?.keys?.includes("k"))) await turn();
      db.close();
    }
    equal(await nativeVersionOf(name), 3 * 16 + 3);
    equal(
      (await outbox(name, "empty")).map(({ k, adopt }) => [k, adopt]),
      [[["k"], undefined]],
    );
    equal(
      (await outbox(name, "other")).map(({ k, adopt }) => [k, adopt]),
      [
        [[], true],
        [["k"], undefined],
      ],
    );
    const { factory } = setup(["full"], name);
    for (const version of [3, undefined]) {
      const db = await open(factory, name, version);
      equal(db.version, 3);
      db.close();
    }
    equal(await open(factory, name, 2).catch((reason: DOMException) => reason.name), "VersionError");
    (await open(factory, name, 4)).close();
    equal(await nativeVersionOf(name), 4 * 16 + 1);
  },

  async "when the sub-versions are used up, opening says what to do"() {
    const { name } = setup([]);
    const names = Array.from({ length: 17 }, (_, index) => `s${index}`);
    await upgrade(name, [], 1, (database) => names.forEach((store) => database.createObjectStore(store)));
    const outcomes: string[] = [];
    for (let count = 1; count <= 15; count++) {
      const { factory } = setup(names.slice(0, count), name);
      const outcome = await open(factory, name, 1).then(
        (db) => (db.close(), "open"),
        (error: DOMException) => error.name,
      );
      outcomes.push(outcome);
    }
    equal(outcomes, [...Array<string>(14).fill("open"), "InvalidStateError"]);
    (await open(setup(names, name).factory, name, 2)).close();
  },

  async "databases() tells the application's versions"() {
    const { name, factory } = setup(["full"]);
    const other = `${name}-other`;
    await populated(name, 20);
    await populated(other, 33);
    const list = async (): Promise<unknown[]> =>
      (await factory.databases())
        .filter((info) => info.name?.startsWith(name))
        .sort((a, b) => ((a.name ?? "") < (b.name ?? "") ? -1 : 1));
    equal(
      await list(),
      [
        { name, version: 20 },
        { name: other, version: 33 },
      ],
      "before adoption",
    );
    (await open(factory, name, 20)).close();
    equal(
      await list(),
      [
        { name, version: 20 },
        { name: other, version: 33 },
      ],
      "after adoption",
    );
  },

  async "versionchange carries the application's versions"() {
    const { name, factory, calls } = setup(["a"]);
    const db = await open(factory, name, 1, (database) => void database.createObjectStore("a"));
    const seen: unknown[] = [];
    db.onversionchange = (event) => {
      seen.push(event.oldVersion, event.newVersion);
      db.close();
    };
    const next = await open(factory, name, 2);
    equal(seen, [1, 2]);
    next.onversionchange = (event) => {
      seen.push(event.oldVersion, event.newVersion);
      next.close();
    };
    const request = factory.deleteDatabase(name);
    const gone = await new Promise<unknown>((resolve) => (request.onsuccess = resolve));
    check(gone instanceof IDBVersionChangeEvent, "success of a deletion");
    equal([gone.oldVersion, gone.newVersion, ...seen], [2, null, 1, 2, 2, null]);
    equal(calls, [`opened ${name}`, "versionchange", `opened ${name}`, "versionchange", "deleted"]);
  },

  async "blocked carries the application's versions, in a silent upgrade too"() {
    const { name, factory } = setup(["full"]);
    await populated(name, 2);
    const holder = await open(indexedDB, name);
    const request = factory.open(name);
    const versions = await new Promise((resolve) => {
      request.onblocked = (event) => resolve([event.oldVersion, event.newVersion]);
    });
    equal(versions, [2, 2]);
    holder.close();
    equal((await done(request)).version, 2);
  },

  async "another page's sub-version closes the connection, which says so"() {
    const { name, factory, calls } = setup(["full"]);
    await populated(name, 2);
    const db = await open(factory, name, 2);
    const closed = new Promise<void>((resolve) => (db.onclose = () => resolve()));
    const later = await open(setup(["full", "other"], name).factory, name, 2);
    await closed;
    equal(
      thrown(() => db.transaction("full")),
      "InvalidStateError",
    );
    equal(calls, [`opened ${name}`, "versionchange"]);
    equal((await outbox(name, "other")).length, 1);
    later.close();
  },

  async "versions and names convert as natively"() {
    const { name, factory } = setup(["a"]);
    const bad: unknown[] = [0, -1, NaN, Infinity, "x", null, {}, 2 ** 53, 10n, Symbol("s"), 2 ** 52];
    for (const version of bad) {
      equal(
        thrown(() => factory.open(name, version as number)),
        "TypeError",
        `version ${String(version)}`,
      );
    }
    equal(
      thrown(() => factory.open(Symbol("s") as unknown as string)),
      "TypeError",
    );
    equal(
      thrown(() => Reflect.apply(factory.open, factory, [])),
      "TypeError",
    );
    equal(
      thrown(() => Reflect.apply(factory.deleteDatabase, factory, [])),
      "TypeError",
    );
    const above = 2 ** 49;
    const refused = await Promise.resolve(above)
      .then((version) => open(factory, name, version))
      .catch((error: TypeError) => error.message);
    equal(refused, `version ${above} is above ${above - 1}`);
    const db = await open(factory, name, "2.9" as unknown as number);
    equal(db.version, 2);
  },

  async "other databases pass through natively"() {
    const { name, factory, captured } = setup(["a"]);
    const db = await open(factory, `${name}-2`, 7, (database) => void database.createObjectStore("a"));
    check(Object.getPrototypeOf(db) === IDBDatabase.prototype, "a native connection");
    db.transaction("a", "readwrite").objectStore("a").put(1, 1);
    await completed(db.transaction("a", "readwrite"));
    equal([db.version, [...db.objectStoreNames], captured], [7, ["a"], []]);
    db.close();
    await done(factory.deleteDatabase(`${name}-2`));
  },

  async "a wrapped factory can be wrapped for another database"() {
    const first = setup(["a"]);
    const name = `${first.name}-2`;
    const both = wrapFactory(first.factory, { database: name, stores: ["b"], onCaptured: () => undefined });
    const make: Upgrade = (database) => ["a", "b"].forEach((store) => database.createObjectStore(store));
    (await open(both, first.name, 1, make)).close();
    (await open(both, name, 1, make)).close();
    equal(await nativeStores(first.name), stores("a", "b", outboxName("a")));
    equal(await nativeStores(name), stores("a", "b", outboxName("b")));
  },
};
