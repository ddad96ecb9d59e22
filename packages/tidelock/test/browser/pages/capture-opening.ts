/** Cases of opening and deleting: adoption, versions, events. Each runs in a page of its own. */
import { outboxName, wrapFactory } from "../../../src/capture/index.ts";
import { nativeVersionOf, populated, stores, upgrade } from "./capture-fixtures.ts";
import { check, completed, done, equal, nativeStores, open, outbox, setup, thrown, turn } from "./kit.ts";
import type { Cases, Upgrade } from "./kit.ts";

export const opening: Cases = {
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
    equal([...(captured[0]?.keys() ?? [])].sort(), ["fresh", "full"]);
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

  async "opens at the same time adopt once"() {
    const { name } = setup([]);
    await populated(name, 3);
    const versions = [undefined, 3, undefined, 3, 3, undefined];
    // Each later factory opts one more store in, so that sub-versions are raced for as well.
    const opens = versions.map(async (version, index) => {
      const { factory } = setup(["full", "empty", "other"].slice(0, 1 + (index % 3)), name);
      const db = await open(factory, name, version);
      return [db.version, [...db.objectStoreNames].length];
    });
    for (const outcome of await Promise.all(opens)) equal(outcome, [3, 3]);
    equal(
      (await outbox(name, "full")).map(({ adopt }) => adopt),
      [true],
    );
    equal(
      (await outbox(name, "other")).map(({ adopt }) => adopt),
      [true],
    );
    equal(await outbox(name, "empty"), []);
  },

  async "a database deleted while it is being adopted is created again, by the application's upgrade"() {
    const { name, factory } = setup(["full"]);
    await populated(name, 3);
    const seen: unknown[] = [];
    const opening = open(factory, name, undefined, (database, event, transaction) => {
      seen.push(event.oldVersion, event.newVersion, database.version, transaction.mode);
      database.createObjectStore("full").put("again", 1);
    });
    const deleting = done(indexedDB.deleteDatabase(name));
    const db = await opening;
    await deleting;
    equal([...seen, db.version], [0, 1, 1, "versionchange", 1]);
    equal(await done(db.transaction("full").objectStore("full").getAll()), ["again"]);
    equal(
      (await outbox(name, "full")).map(({ k, adopt }) => [k, adopt]),
      [[[1], undefined]],
    );
  },

  async "a database deleted while its sub-version is found out is created again"() {
    const { name } = setup([]);
    await populated(name, 3);
    (await open(setup(["full"], name).factory, name, 3)).close();
    const { factory } = setup(["full", "other"], name);
    (await open(factory, name, 3)).close();
    equal(await nativeVersionOf(name), 3 * 16 + 2);
    const seen: unknown[] = [];
    const opening = open(factory, name, 3, (database, event) => {
      seen.push(event.oldVersion, event.newVersion);
      database.createObjectStore("full");
    });
    const deleting = done(indexedDB.deleteDatabase(name));
    const db = await opening;
    await deleting;
    equal([...seen, db.version, await nativeVersionOf(name)], [0, 3, 3, 3 * 16 + 1]);
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
