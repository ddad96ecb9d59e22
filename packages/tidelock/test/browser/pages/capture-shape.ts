/** Cases of what the objects look like: instanceof, identities, errors, options. Each runs in a page of its own. */
import { installFactory, outboxName } from "../../../src/capture/index.ts";
import { check, completed, done, equal, nativeStores, open, outbox, setup, thrown } from "./kit.ts";
import type { Cases } from "./kit.ts";

const make = (database: IDBDatabase): void => {
  database.createObjectStore("a", { keyPath: "id" }).createIndex("by", "n");
  database.createObjectStore("local");
};

function describeMethods(object: object): unknown[] {
  const prototype = Object.getPrototypeOf(object) as object;
  const keys: string[] = [];
  for (const key in object) keys.push(key);
  const lengths = keys.map((key) => {
    const descriptor = Object.getOwnPropertyDescriptor(prototype, key);
    return typeof descriptor?.value === "function" ? `${key} ${descriptor.value.name} ${descriptor.value.length}` : key;
  });
  return lengths.sort();
}

export const shape: Cases = {
  async "every object is the browser's own"() {
    const { name, factory } = setup(["a"]);
    check(factory instanceof IDBFactory, "factory");
    equal(Object.prototype.toString.call(factory), "[object IDBFactory]");
    equal(factory.cmp(1, 2), -1);
    const request = factory.open(name, 1);
    check(request instanceof IDBOpenDBRequest, "open request");
    request.onupgradeneeded = () => make(request.result);
    const db = await done(request);
    const transaction = db.transaction("a", "readwrite");
    const store = transaction.objectStore("a");
    const index = store.index("by");
    await done(store.put({ id: 1, n: 1 }));
    const cursor = await done(store.openCursor());
    const indexCursor = await done(index.openCursor());
    check(db instanceof IDBDatabase && db instanceof EventTarget, "database");
    check(transaction instanceof IDBTransaction && transaction instanceof EventTarget, "transaction");
    check(store instanceof IDBObjectStore && index instanceof IDBIndex, "store and index");
    check(cursor instanceof IDBCursorWithValue && cursor instanceof IDBCursor, "cursor");
    check(transaction.db === db && store.transaction === transaction && index.objectStore === store, "identities");
    check(transaction.objectStore("a") === store && store.index("by") === index, "same objects");
    check(cursor.source === store && indexCursor?.source === index && cursor.request.source === store, "sources");
    const tags = [db, transaction, store, index, cursor].map((object) => Object.prototype.toString.call(object));
    equal(
      tags,
      ["IDBDatabase", "IDBTransaction", "IDBObjectStore", "IDBIndex", "IDBCursorWithValue"].map(
        (tag) => `[object ${tag}]`,
      ),
    );
    equal([db.constructor.name, store.constructor.name], ["IDBDatabase", "IDBObjectStore"]);
    equal(
      [Object.getOwnPropertyNames(db), Object.getOwnPropertyNames(store), Object.getOwnPropertyNames(transaction)],
      [[], [], []],
    );
    check(cursor.continue === IDBCursor.prototype.continue, "idb compares the identity of continue");
  },

  async "members, names and lengths are those of native objects"() {
    const { name, factory } = setup(["a"]);
    const db = await open(factory, name, 1, make);
    const plain = await open(indexedDB, `${name}-native`, 1, make);
    const pick = (database: IDBDatabase): object[] => {
      const transaction = database.transaction("a", "readwrite");
      const store = transaction.objectStore("a");
      return [database, transaction, store, store.index("by")];
    };
    const [dressed, native] = [pick(db), pick(plain)];
    for (const [position, object] of dressed.entries()) {
      const other = native[position];
      check(other !== undefined, "position");
      const members = (target: object): string[] => {
        const names: string[] = [];
        for (const key in target) names.push(key);
        return names.sort();
      };
      equal(members(object), members(other), "members");
      for (const member of describeMethods(object)) {
        const [key, methodName, length] = String(member).split(" ");
        if (methodName === undefined || key === undefined) continue;
        const method: unknown = Reflect.get(other, key);
        check(typeof method === "function", key);
        equal([methodName, Number(length)], [method.name, method.length], key);
      }
    }
    equal([factory.open.length, factory.open.name, factory.databases.name], [1, "open", "databases"]);
  },

  async "objects that cannot change captured stores stay untouched"() {
    const { name, factory } = setup(["a"]);
    const db = await open(factory, name, 1, make);
    const reading = db.transaction(["a", "local"]);
    const local = db.transaction("local", "readwrite");
    const mixed = db.transaction(["a", "local"], "readwrite");
    check(Object.getPrototypeOf(reading) === IDBTransaction.prototype, "read transaction");
    check(Object.getPrototypeOf(reading.objectStore("a")) === IDBObjectStore.prototype, "read store");
    check(Object.getPrototypeOf(local) === IDBTransaction.prototype, "transaction of stores not opted in");
    check(Object.getPrototypeOf(mixed.objectStore("local")) === IDBObjectStore.prototype, "store not opted in");
    equal([...local.objectStoreNames], ["local"]);
  },

  async "the browser has no way to write that the layer does not know"() {
    const known: Record<string, readonly string[]> = {
      IDBFactory: ["open", "deleteDatabase", "databases", "cmp"],
      IDBDatabase: ["transaction", "createObjectStore", "deleteObjectStore", "close"],
      IDBTransaction: ["objectStore", "commit", "abort"],
      IDBObjectStore: [
        ...["put", "add", "delete", "clear", "openCursor", "index", "createIndex"],
        ...["get", "getKey", "getAll", "getAllKeys", "getAllRecords", "count", "openKeyCursor", "deleteIndex"],
      ],
      IDBIndex: ["openCursor", "get", "getKey", "getAll", "getAllKeys", "getAllRecords", "count", "openKeyCursor"],
      IDBCursor: ["update", "delete", "advance", "continue", "continuePrimaryKey"],
      IDBCursorWithValue: [],
    };
    for (const [name, methods] of Object.entries(known)) {
      const prototype = (Reflect.get(globalThis, name) as { prototype: object }).prototype;
      const unknown = Object.entries(Object.getOwnPropertyDescriptors(prototype))
        .filter(([key, { value }]) => typeof value === "function" && key !== "constructor" && !methods.includes(key))
        .map(([key]) => key);
      equal(unknown, [], `methods of ${name} to think about`);
    }
  },

  async "the durability of a transaction is the application's"() {
    const { name, factory } = setup(["a"]);
    const db = await open(factory, name, 1, make);
    for (const durability of ["strict", "relaxed", "default"] as const) {
      equal(db.transaction("a", "readwrite", { durability }).durability, durability);
    }
    equal(db.transaction("a", "readwrite").durability, "default");
    equal(
      thrown(() => db.transaction("a", "readwrite", { durability: "x" as "strict" })),
      "TypeError",
    );
  },

  async "errors and their order are native"() {
    const { name, factory } = setup(["a"]);
    const dressed = await open(factory, name, 1, make);
    const plain = await open(indexedDB, `${name}-native`, 1, make);
    const symbol = Symbol("s") as unknown as string;
    const calls: ((db: IDBDatabase) => unknown)[] = [
      (db) => Reflect.apply(db.transaction, db, []),
      (db) => db.transaction([]),
      (db) => db.transaction("none", "readwrite"),
      (db) => db.transaction(["a", "none"], "sideways" as "readonly"),
      (db) => db.transaction("a", "versionchange" as "readonly"),
      (db) => db.transaction("a", null as unknown as "readonly"),
      (db) => db.transaction([symbol], "readwrite"),
      (db) => db.transaction(symbol),
      (db) => db.transaction({ [Symbol.iterator]: 1 } as unknown as string),
      (db) => db.transaction("a", "readwrite", 5 as unknown as IDBTransactionOptions),
      (db) => db.createObjectStore("b"),
      (db) => Reflect.apply(db.createObjectStore, db, []),
      (db) => db.deleteObjectStore("a"),
      (db) => db.transaction("a").objectStore("a").put({ id: 1 }),
      (db) => db.transaction("a").objectStore("a").clear(),
      (db) => db.transaction("a", "readwrite").objectStore("none"),
      (db) => Reflect.apply(IDBTransaction.prototype.objectStore, db.transaction("a", "readwrite"), []),
      (db) => db.transaction("a", "readwrite").objectStore("a").put({}),
      (db) => db.transaction("a", "readwrite").objectStore("a").put({ id: {} }),
      (db) => db.transaction("a", "readwrite").objectStore("a").put({ id: 1 }, 2),
      (db) =>
        db
          .transaction("a", "readwrite")
          .objectStore("a")
          .put({ id: 1, f: () => 1 }),
      (db) =>
        db
          .transaction("a", "readwrite")
          .objectStore("a")
          .put(new Proxy({ id: 1 }, {})),
      (db) => Reflect.apply(IDBObjectStore.prototype.put, db.transaction("a", "readwrite").objectStore("a"), []),
      (db) =>
        db
          .transaction("a", "readwrite")
          .objectStore("a")
          .delete(null as unknown as string),
      (db) =>
        db
          .transaction("a", "readwrite")
          .objectStore("a")
          .delete([{}] as unknown as string),
      (db) =>
        db
          .transaction("a", "readwrite")
          .objectStore("a")
          .openCursor(null, "up" as "next"),
      (db) => db.transaction("a", "readwrite").objectStore("a").index("none"),
      (db) => db.transaction("a", "readwrite").objectStore("a").createIndex("x", "y"),
      (db) => {
        const transaction = db.transaction("a", "readwrite");
        transaction.commit();
        transaction.objectStore("a").put({ id: 1 });
      },
      (db) => {
        const transaction = db.transaction("a", "readwrite");
        transaction.objectStore("a").put({ id: 1 });
        transaction.commit();
        transaction.commit();
      },
      (db) => {
        const transaction = db.transaction("a", "readwrite");
        const store = transaction.objectStore("a");
        transaction.abort();
        store.put({
          id: 1,
          get x() {
            throw new RangeError("getter");
          },
        });
      },
      (db) =>
        db
          .transaction("a", "readwrite")
          .objectStore("a")
          .put({
            id: 1,
            get x() {
              throw new RangeError("getter");
            },
          }),
      (db) => (db.transaction("a", "readwrite").objectStore("a").name = "b"),
      (db) => Reflect.apply(db.transaction, {}, ["a"]),
      (db) => (db.close(), db.transaction("a", "readwrite")),
    ];
    for (const [position, call] of calls.entries())
      equal(
        thrown(() => call(dressed)),
        thrown(() => call(plain)),
        `call ${position}`,
      );
  },

  async "an exception in a listener aborts the transaction, as natively"() {
    const { name, factory, captured } = setup(["a"]);
    const db = await open(factory, name, 1, make);
    const transaction = db.transaction("a", "readwrite");
    window.addEventListener("error", (event) => event.preventDefault());
    transaction.objectStore("a").put({ id: 1 }).onsuccess = () => {
      throw new RangeError("on purpose");
    };
    equal(await completed(transaction).catch((error: DOMException) => error.name), "AbortError");
    equal([await outbox(name, "a"), captured], [[], []]);
  },

  async "an error in a callback of the owner reaches nobody's transaction"() {
    const { name, factory } = setup(["a"]);
    const reported: string[] = [];
    window.addEventListener("error", (event) => {
      event.preventDefault();
      reported.push(event.message);
    });
    installFactory({
      database: `${name}-installed`,
      stores: ["a"],
      onCaptured() {
        throw new RangeError("owner");
      },
    });
    const db = await open(indexedDB, `${name}-installed`, 1, make);
    const transaction = db.transaction("a", "readwrite");
    transaction.objectStore("a").put({ id: 1 });
    await completed(transaction);
    equal(reported.length, 1, "reports");
    check(factory instanceof IDBFactory, "factory");
  },

  async "install() captures for code that takes no factory"() {
    const name = `installed-${Date.now()}`;
    const marks: unknown[] = [];
    const { open: nativeOpen } = IDBFactory.prototype;
    installFactory({ database: name, stores: ["a"], onCaptured: (stores) => marks.push([...stores]) });
    installFactory({ database: `${name}-2`, stores: ["a"], onCaptured: (stores) => marks.push([...stores]) });
    for (const database of [name, `${name}-2`, `${name}-3`]) {
      const db = await open(indexedDB, database, 2, make);
      const transaction = db.transaction("a", "readwrite");
      transaction.objectStore("a").put({ id: database });
      await completed(transaction);
      equal([db.version, [...db.objectStoreNames]], [2, ["a", "local"]]);
      db.close();
    }
    equal(
      marks,
      [name, `${name}-2`].map((database) => [["a", { keys: [database] }]]),
    );
    const listed = (await indexedDB.databases()).filter((info) => info.name?.startsWith(name));
    equal(
      listed.map((info) => info.version),
      [2, 2, 2],
    );
    const names = await new Promise<string[]>((resolve) => {
      const request = nativeOpen.call(indexedDB, name);
      request.onsuccess = () => resolve([...request.result.objectStoreNames]);
    });
    check(names.includes(outboxName("a")), "outbox");
    equal(
      thrown(() => Reflect.apply(indexedDB.open, {}, [name])),
      "TypeError",
    );
    equal((await nativeStores(`${name}-3`)).length, 2);
  },
};
