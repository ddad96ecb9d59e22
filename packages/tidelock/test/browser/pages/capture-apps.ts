/** One small application written three times: with raw IndexedDB, with idb and with Dexie. It knows nothing of capture. */
import { Dexie } from "dexie";
import type { Table } from "dexie";
import { openDB } from "idb";
import type { DBSchema } from "idb";

export interface Task {
  id: string;
  list: string;
  title: string;
  done: 0 | 1;
}

export interface LogEntry {
  id?: number;
  text: string;
}

/** What the application does with its database. */
export interface Tasks {
  add(tasks: readonly Task[]): Promise<void>;
  rename(id: string, title: string): Promise<void>;
  /** Marks every task of a list as done, through an index. */
  finish(list: string): Promise<void>;
  /** Removes done tasks and logs how many, in one transaction. */
  sweep(): Promise<number>;
  /** Adds a task and then fails: nothing may remain. */
  addAndFail(task: Task): Promise<void>;
  all(): Promise<Task[]>;
  log(): Promise<LogEntry[]>;
  close(): void;
}

export type App = (factory: IDBFactory, name: string) => Promise<Tasks>;

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("request failed"));
  });
}

function completed(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new Error("aborted"));
  });
}

export const raw: App = async (factory, name) => {
  const request = factory.open(name, 10);
  request.onupgradeneeded = () => {
    const tasks = request.result.createObjectStore("tasks", { keyPath: "id" });
    tasks.createIndex("list", "list");
    tasks.createIndex("done", "done");
    request.result.createObjectStore("log", { keyPath: "id", autoIncrement: true });
  };
  const db = await done(request);
  const change = async (stores: string[], work: (transaction: IDBTransaction) => void): Promise<void> => {
    const transaction = db.transaction(stores, "readwrite");
    work(transaction);
    await completed(transaction);
  };
  const visit = (request: IDBRequest<IDBCursorWithValue | null>, act: (cursor: IDBCursorWithValue) => void): void => {
    request.onsuccess = () => {
      if (request.result === null) return;
      act(request.result);
      request.result.continue();
    };
  };
  return {
    add: (tasks) =>
      change(["tasks"], (transaction) => tasks.forEach((task) => transaction.objectStore("tasks").add(task))),
    rename: (id, title) =>
      change(["tasks"], (transaction) => {
        const store = transaction.objectStore("tasks");
        const found: IDBRequest<Task | undefined> = store.get(id);
        found.onsuccess = () => found.result && store.put({ ...found.result, title });
      }),
    finish: (list) =>
      change(["tasks"], (transaction) => {
        const cursors = transaction.objectStore("tasks").index("list").openCursor(list);
        visit(cursors, (cursor) => cursor.update({ ...(cursor.value as Task), done: 1 }));
      }),
    async sweep() {
      let count = 0;
      await change(["tasks", "log"], (transaction) => {
        const cursors = transaction.objectStore("tasks").index("done").openCursor(1);
        cursors.onsuccess = () => {
          const cursor = cursors.result;
          if (cursor === null) return void transaction.objectStore("log").add({ text: `removed ${count}` });
          count++;
          cursor.delete();
          cursor.continue();
        };
      });
      return count;
    },
    addAndFail: (task) =>
      change(["tasks"], (transaction) => {
        transaction.objectStore("tasks").add(task).onsuccess = () => transaction.abort();
      }).catch(() => undefined),
    all: () => done(db.transaction("tasks").objectStore("tasks").getAll()),
    log: () => done(db.transaction("log").objectStore("log").getAll()),
    close: () => db.close(),
  };
};

interface Schema extends DBSchema {
  tasks: { key: string; value: Task; indexes: { list: string; done: number } };
  log: { key: number; value: LogEntry };
}

/** idb takes the factory from the global, so that is what the application replaces. */
export const idb: App = async (factory, name) => {
  Object.defineProperty(globalThis, "indexedDB", { value: factory, configurable: true });
  const db = await openDB<Schema>(name, 10, {
    upgrade(database) {
      const tasks = database.createObjectStore("tasks", { keyPath: "id" });
      tasks.createIndex("list", "list");
      tasks.createIndex("done", "done");
      database.createObjectStore("log", { keyPath: "id", autoIncrement: true });
    },
  });
  return {
    async add(tasks) {
      const transaction = db.transaction("tasks", "readwrite");
      await Promise.all([...tasks.map((task) => transaction.store.add(task)), transaction.done]);
    },
    async rename(id, title) {
      const transaction = db.transaction("tasks", "readwrite");
      const task = await transaction.store.get(id);
      if (task !== undefined) await transaction.store.put({ ...task, title });
      await transaction.done;
    },
    async finish(list) {
      const transaction = db.transaction("tasks", "readwrite");
      for await (const cursor of transaction.store.index("list").iterate(list)) {
        await cursor.update({ ...cursor.value, done: 1 });
      }
      await transaction.done;
    },
    async sweep() {
      const transaction = db.transaction(["tasks", "log"], "readwrite");
      let count = 0;
      let cursor = await transaction.objectStore("tasks").index("done").openCursor(1);
      for (; cursor !== null; cursor = await cursor.continue(), count++) await cursor.delete();
      await transaction.objectStore("log").add({ text: `removed ${count}` });
      await transaction.done;
      return count;
    },
    async addAndFail(task) {
      const transaction = db.transaction("tasks", "readwrite");
      await transaction.store.add(task);
      transaction.abort();
      await transaction.done.catch(() => undefined);
    },
    all: () => db.getAll("tasks"),
    log: () => db.getAll("log"),
    close: () => db.close(),
  };
};

class TaskDatabase extends Dexie {
  declare tasks: Table<Task, string>;
  declare log: Table<LogEntry, number>;

  constructor(factory: IDBFactory, name: string) {
    super(name, { indexedDB: factory, IDBKeyRange });
    this.version(1).stores({ tasks: "id, list, done", log: "++id" });
  }
}

export const dexie: App = async (factory, name) => {
  const db = new TaskDatabase(factory, name);
  await db.open();
  return {
    add: async (tasks) => void (await db.tasks.bulkAdd([...tasks])),
    rename: async (id, title) => void (await db.tasks.update(id, { title })),
    finish: async (list) => void (await db.tasks.where("list").equals(list).modify({ done: 1 })),
    sweep: () =>
      db.transaction("rw", db.tasks, db.log, async () => {
        const count = await db.tasks.where("done").equals(1).delete();
        await db.log.add({ text: `removed ${count}` });
        return count;
      }),
    addAndFail: (task) =>
      db
        .transaction("rw", db.tasks, async () => {
          await db.tasks.add(task);
          throw new Error("on purpose");
        })
        .catch(() => undefined),
    all: () => db.tasks.toArray(),
    log: () => db.log.toArray(),
    close: () => db.close(),
  };
};
