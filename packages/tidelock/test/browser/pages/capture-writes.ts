/** Cases of the capture of writes: each runs in a page of its own. */
import { outboxName } from "../../../src/capture/index.ts";
import { check, completed, done, ended, equal, natively, open, outbox, readOutbox, setup, turn } from "./kit.ts";
import type { Cases, Setup } from "./kit.ts";

interface Opened extends Setup {
  readonly db: IDBDatabase;
}

/** A database with stores: `plain` (no key path), `inline` (key path id), `auto` (generated keys), `local` (not opted in). */
async function opened(): Promise<Opened> {
  const made = setup(["plain", "inline", "auto"]);
  const db = await open(made.factory, made.name, 1, (database) => {
    database.createObjectStore("plain").createIndex("by", "n");
    database.createObjectStore("inline", { keyPath: "id" });
    database.createObjectStore("auto", { autoIncrement: true });
    database.createObjectStore("local");
  });
  return { ...made, db };
}

/**
 * Runs one transaction over a store and returns the marks it left, without their ids and times. The announcement must
 * have been made when the transaction completes: it comes later when the marks needed a transaction of their own.
 */
async function marksOf(
  { db, name, captured }: Opened,
  store: string,
  work: (store: IDBObjectStore, transaction: IDBTransaction) => void | Promise<void>,
): Promise<{ k: readonly IDBValidKey[]; r: readonly unknown[] }[]> {
  const before = (await outbox(name, store)).length;
  const announced = captured.length;
  const transaction = db.transaction(store, "readwrite");
  const end = completed(transaction);
  await work(transaction.objectStore(store), transaction);
  await end;
  equal(captured.length, announced + 1, "announcements");
  return (await outbox(name, store)).slice(before).map(({ k, r }) => ({ k, r }));
}

/** Fills `plain` with rows 1 to 9, n = key. */
async function fill({ db }: Opened): Promise<void> {
  const transaction = db.transaction("plain", "readwrite");
  for (let n = 1; n < 10; n++) transaction.objectStore("plain").put({ n }, n);
  await completed(transaction);
}

/** Visits every row; the visitor continues the cursor. */
function each(request: IDBRequest<IDBCursorWithValue | null>, visit: (cursor: IDBCursorWithValue) => void): void {
  request.onsuccess = () => {
    if (request.result !== null) visit(request.result);
  };
}

export const writes: Cases = {
  async "put and add mark explicit keys of every kind in one record"() {
    const at = await opened();
    const keys: IDBValidKey[] = ["a", 1.5, new Date(7), new Uint8Array([1, 2]), ["x", [new Date(8), 2]]];
    const marks = await marksOf(at, "plain", (store) => {
      keys.forEach((key, index) => (index % 2 ? store.put({}, key) : store.add({}, key)));
    });
    equal(marks, [{ k: ["a", 1.5, new Date(7), new Uint8Array([1, 2]).buffer, ["x", [new Date(8), 2]]], r: [] }]);
  },

  async "inline and generated keys are marked by their value"() {
    const at = await opened();
    equal(await marksOf(at, "inline", (store) => void store.put({ id: "a" })), [{ k: ["a"], r: [] }]);
    equal(
      await marksOf(at, "auto", (store) => {
        store.add("x");
        store.put("y");
        store.put("z", 40);
      }),
      [{ k: [40, 1, 2], r: [] }],
    );
  },

  async "a key written twice is marked once"() {
    const at = await opened();
    equal(
      await marksOf(at, "plain", (store) => {
        store.put(1, "a");
        store.put(2, "a");
        store.delete("a");
      }),
      [{ k: ["a"], r: [] }],
    );
  },

  async "deletes mark keys, ranges and clear"() {
    const at = await opened();
    equal(
      await marksOf(at, "plain", (store) => {
        store.delete("k");
        store.delete(["a", new Date(3)]);
        store.delete(IDBKeyRange.bound(1, 5, true, false));
        store.delete(IDBKeyRange.lowerBound("m"));
      }),
      [
        {
          k: ["k", ["a", new Date(3)]],
          r: [
            [1, 5, true, false],
            ["m", undefined, false, true],
          ],
        },
      ],
    );
    equal(await marksOf(at, "plain", (store) => void store.clear()), [{ k: [], r: [null] }]);
  },

  async "an array key with accessors marks the whole store and runs the accessors once"() {
    const at = await opened();
    let runs = 0;
    const key: unknown[] = [];
    Object.defineProperty(key, 0, { get: () => ++runs, enumerable: true });
    const marks = await marksOf(at, "plain", (store) => void store.delete(key as IDBValidKey));
    equal(marks, [{ k: [], r: [null] }]);
    equal(runs, 1, "runs");
  },

  async "getters of a value run as often as natively"() {
    const at = await opened();
    let runs = 0;
    const value = {
      id: "a",
      get x() {
        return ++runs;
      },
    };
    equal(await marksOf(at, "inline", (store) => void store.put(value)), [{ k: ["a"], r: [] }]);
    equal(runs, 1, "runs");
  },

  async "cursor updates and deletes via a store make one record"() {
    const at = await opened();
    await fill(at);
    const marks = await marksOf(at, "plain", (store) => {
      each(store.openCursor(), (cursor) => {
        const key = cursor.key as number;
        if (key % 3 === 0) cursor.update({ n: key, changed: true });
        else if (key % 3 === 1) cursor.delete();
        cursor.continue();
      });
    });
    equal(marks.length, 1, "records");
    equal([...(marks[0]?.k ?? [])].sort(), [1, 3, 4, 6, 7, 9]);
  },

  async "cursor updates and deletes via an index mark primary keys"() {
    const at = await opened();
    await fill(at);
    const marks = await marksOf(at, "plain", (store) => {
      each(store.index("by").openCursor(IDBKeyRange.bound(4, 6)), (cursor) => {
        if (cursor.primaryKey === 5) cursor.delete();
        else cursor.update({ n: -1, changed: true });
        cursor.continue();
      });
    });
    equal([...new Set(marks.flatMap(({ k }) => k))].sort(), [4, 5, 6]);
  },

  async "a cursor deletes by the key it has, whatever the application does to the key it handed out"() {
    const at = await opened();
    await marksOf(at, "plain", (store) => void store.put({ n: 1 }, ["a", 1]));
    const marks = await marksOf(at, "plain", (store) => {
      each(store.openCursor(), (cursor) => {
        (cursor.primaryKey as IDBValidKey[])[0] = "changed";
        cursor.delete();
      });
    });
    equal(marks, [{ k: [["a", 1]], r: [] }]);
  },

  async "a cursor first seen by a capture listener of the transaction is captured"() {
    const at = await opened();
    await fill(at);
    const marks = await marksOf(at, "plain", (store, transaction) => {
      const request = store.openCursor(5);
      const listener = (event: Event): void => {
        if (event.target !== request) return;
        transaction.removeEventListener("success", listener, true);
        request.result?.delete();
      };
      transaction.addEventListener("success", listener, true);
    });
    equal(marks, [{ k: [5], r: [] }]);
  },

  async "commit() marks known keys, and the whole store where a key is not known yet"() {
    const at = await opened();
    equal(
      await marksOf(at, "plain", (store, transaction) => {
        store.put(1, "a");
        transaction.commit();
      }),
      [{ k: ["a"], r: [] }],
    );
    equal(
      await marksOf(at, "auto", (store, transaction) => {
        store.put(1);
        transaction.commit();
      }),
      [{ k: [], r: [null] }],
    );
    const late = await marksOf(at, "auto", (store, transaction) => {
      store.put(1).onsuccess = () => transaction.commit();
    });
    equal(late, [{ k: [2], r: [] }]);
    equal(at.captured.slice(-1)[0]?.get("auto"), { keys: [2] });
  },

  async "commit() marks inline keys by what the value tells, and nothing but the value"() {
    const at = await opened();
    const committed = (value: object): ReturnType<typeof marksOf> =>
      marksOf(at, "inline", (store, transaction) => {
        store.put(value);
        transaction.commit();
      });
    equal(await committed({ id: "a" }), [{ k: ["a"], r: [] }]);
    equal(await committed({ id: 5 }), [{ k: [5], r: [] }]);
    const whole = [{ k: [], r: [null] }];
    equal(await committed({ id: new Date(5) }), whole, "a key that is an object");
    equal(
      await committed(Object.create(null, { id: { value: 1, enumerable: true } }) as object),
      whole,
      "no prototype",
    );
    let runs = 0;
    const counting = {
      get id() {
        return ++runs;
      },
    };
    equal(await committed(counting), whole, "a getter");
    equal(runs, 1, "runs");
    const cursor = await marksOf(at, "inline", (store, transaction) => {
      each(store.openCursor("a"), (found) => {
        found.update({ id: "a", changed: true });
        transaction.commit();
      });
    });
    equal(cursor, [{ k: ["a"], r: [] }]);
  },

  async "commit() of a value whose getter changes its key is marked by the key it got"() {
    const at = await opened();
    const value = {
      id: "copied",
      get z(): number {
        this.id = "changed";
        return 1;
      },
    };
    const transaction = at.db.transaction("inline", "readwrite");
    transaction.objectStore("inline").put(value);
    transaction.commit();
    await completed(transaction);
    while (at.captured.length === 0) await turn();
    equal(await natively(at.name, (native) => done(native.transaction("inline").objectStore("inline").getAllKeys())), [
      "copied",
    ]);
    equal(
      (await outbox(at.name, "inline")).flatMap(({ k }) => k),
      ["changed", "copied"],
    );
    equal(at.captured, [new Map([["inline", { keys: ["changed", "copied"] }]])]);
  },

  async "writes awaited one by one make two records: the first, and all others"() {
    const at = await opened();
    const marks = await marksOf(at, "plain", async (store) => {
      for (let n = 0; n < 20; n++) await done(store.put(n, n));
    });
    const [first, ...others] = Array.from({ length: 20 }, (_, n) => n);
    equal(marks, [
      { k: [first], r: [] },
      { k: others, r: [] },
    ]);
    const generated = await marksOf(at, "auto", async (store) => {
      for (let n = 0; n < 20; n++) await done(store.add(n));
    });
    equal(generated.length, 1, "records of generated keys");
  },

  async "puts within a cursor's steps make one record"() {
    const at = await opened();
    await fill(at);
    const marks = await marksOf(at, "plain", (store) => {
      each(store.openCursor(IDBKeyRange.bound(1, 9)), (cursor) => {
        store.put({ n: 0 }, `copy ${String(cursor.key)}`);
        cursor.continue();
      });
    });
    equal(marks.length, 1, "records");
    equal(new Set(marks[0]?.k).size, 9, "keys");
  },

  async "a getter that changes the key of its value while it is copied is marked in the same transaction"() {
    const at = await opened();
    const value = {
      id: "copied",
      get z(): number {
        this.id = "changed";
        return 1;
      },
    };
    const marks = await marksOf(at, "inline", (store) => {
      store.put(value).onsuccess = (event) => event.stopImmediatePropagation();
    });
    equal(
      marks.flatMap(({ k }) => k),
      ["changed", "copied"],
    );
  },

  async "one transaction over several stores has one id, and its marks are announced once, after complete"() {
    const at = await opened();
    const transaction = at.db.transaction(["plain", "inline", "local"], "readwrite");
    let sawComplete = false;
    transaction.addEventListener("complete", () => (sawComplete = true));
    transaction.objectStore("plain").put(1, "a");
    transaction.objectStore("inline").put({ id: "b" });
    transaction.objectStore("local").put(1, "c");
    equal(at.captured.length, 0, "announced early");
    await completed(transaction);
    check(sawComplete, "complete was hidden");
    equal(at.captured.length, 1, "announcements");
    equal(
      [...(at.captured[0] ?? [])],
      [
        ["plain", { keys: ["a"] }],
        ["inline", { keys: ["b"] }],
      ],
    );
    const [[plain], [inline]] = [await outbox(at.name, "plain"), await outbox(at.name, "inline")];
    check(plain !== undefined && plain.t === inline?.t, "ids differ");
    check(Math.abs(plain.a - Date.now()) < 60_000, "time of the record");
  },

  async "an aborted transaction marks and announces nothing"() {
    const at = await opened();
    const transaction = at.db.transaction("plain", "readwrite");
    const store = transaction.objectStore("plain");
    store.put(1, "a");
    await done(store.put(1, "b"));
    transaction.abort();
    await turn();
    const second = at.db.transaction("plain", "readwrite");
    second.objectStore("plain").put(1, "x");
    second.objectStore("plain").add(1, "x");
    equal(await ended(second), "abort");
    equal(await outbox(at.name, "plain"), []);
    equal(at.captured, []);
  },

  async "a prevented constraint error leaves the other changes marked"() {
    const at = await opened();
    for (const [store, value, args] of [
      ["plain", 1, ["a"]],
      ["inline", { id: "a" }, []],
    ] as const) {
      const marks = await marksOf(at, store, (rows) => {
        rows.put(value, ...args);
        rows.add(value, ...args).onerror = (event) => {
          event.preventDefault();
          event.stopImmediatePropagation();
        };
      });
      equal(marks, [{ k: ["a"], r: [] }]);
    }
  },

  async "listeners that stop propagation hide nothing"() {
    const at = await opened();
    const stops: ((event: Event) => void)[] = [
      (event) => event.stopImmediatePropagation(),
      (event) => event.stopPropagation(),
      (event) => (event.cancelBubble = true),
    ];
    for (const [index, stop] of stops.entries()) {
      for (const place of ["database", "transaction", "request"]) {
        const marks = await marksOf(at, "plain", (store, transaction) => {
          const request = store.put(1, `${index} ${place}`);
          const target = place === "database" ? at.db : place === "transaction" ? transaction : request;
          target.addEventListener("success", stop, { capture: true, once: true });
          request.onsuccess = stop;
        });
        equal(marks, [{ k: [`${index} ${place}`], r: [] }]);
      }
    }
  },

  async "a write made after a stopped event is marked too"() {
    const at = await opened();
    const marks = await marksOf(at, "plain", (store) => {
      store.put(1, "a").onsuccess = (event) => {
        event.stopImmediatePropagation();
        store.put(1, "b").onsuccess = (later) => later.stopImmediatePropagation();
      };
    });
    equal(
      marks.flatMap(({ k }) => k),
      ["a", "b"],
    );
  },

  async "changes of code that goes around the layer are marked in a transaction of their own"() {
    const at = await opened();
    const transaction = at.db.transaction("plain", "readwrite");
    transaction.objectStore("plain").put(1, "a").onsuccess = (event) => {
      Event.prototype.stopImmediatePropagation.call(event);
    };
    await completed(transaction);
    while (at.captured.length === 0) await turn();
    equal(at.captured[0]?.get("plain"), { keys: ["a"] });
    equal(
      (await outbox(at.name, "plain")).map(({ k }) => k),
      [["a"]],
    );
  },

  async "requests of the layer are invisible"() {
    const at = await opened();
    const seen: string[] = [];
    const see = (event: Event): void => void seen.push(event.type);
    const transaction = at.db.transaction("plain", "readwrite");
    for (const target of [at.db, transaction]) {
      for (const type of ["success", "error", "complete"]) target.addEventListener(type, see, true);
    }
    await done(transaction.objectStore("plain").put(1, "a"));
    await completed(transaction);
    equal(seen, ["success", "success", "complete", "complete"]);
  },

  async "a mark that cannot be written aborts the transaction of its change"() {
    const at = await opened();
    // An outbox whose key generator is used up refuses every record.
    await natively(at.name, (native) => {
      const transaction = native.transaction(outboxName("plain"), "readwrite");
      transaction.objectStore(outboxName("plain")).put({}, 2 ** 53);
      return completed(transaction);
    });
    const transaction = at.db.transaction("plain", "readwrite");
    transaction.objectStore("plain").put(1, "a");
    equal(await ended(transaction), "abort");
    equal(transaction.error?.name, "ConstraintError");
    equal(await done(at.db.transaction("plain").objectStore("plain").count()), 0);
    equal(at.captured, []);
  },

  async "outboxes do not make writers of different stores wait for each other"() {
    const at = await opened();
    const first = at.db.transaction("plain", "readwrite");
    let holding = true;
    const hold = (): void => {
      if (holding) first.objectStore("plain").get(0).onsuccess = hold;
    };
    hold();
    const second = at.db.transaction("inline", "readwrite");
    second.objectStore("inline").put({ id: 1 });
    await completed(second);
    holding = false;
    await completed(first);
  },

  async "a transaction that writes nothing captured leaves no record"() {
    const at = await opened();
    const transaction = at.db.transaction(["plain", "local"], "readwrite");
    await done(transaction.objectStore("plain").get("a"));
    transaction.objectStore("local").put(1, "x");
    transaction.objectStore("plain").openCursor();
    await completed(transaction);
    equal(at.captured, []);
    equal(await natively(at.name, (native) => readOutbox(native, "plain")), []);
  },
};
