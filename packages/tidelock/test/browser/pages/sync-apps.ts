/**
 * One application, written three times: with IndexedDB itself, with idb, with Dexie. Each uses its library as everybody does; only the factory is
 * the synced one (idb takes none, so the global one is).
 */
import { Dexie, liveQuery } from "dexie";
import type { Table } from "dexie";
import { openDB } from "idb";
import { install, wrap } from "tidelock";
import { connectDexie } from "tidelock/dexie";
import type { Tidelock, TidelockOptions } from "../../../src/index.ts";

/** A row of the application. */
export interface Note {
  readonly id: string;
  readonly tag: string;
  readonly count: number;
}

/** What the application can do. */
interface Application {
  readonly sync: Tidelock;
  add(note: Note): Promise<void>;
  /** Adds one to the count of every note with a tag, in one transaction. */
  bump(tag: string): Promise<void>;
  remove(id: string): Promise<void>;
  all(): Promise<Note[]>;
  byTag(tag: string): Promise<Note[]>;
}

const NAME = "app";
/** Dexie multiplies its version by ten. */
const VERSION = 10;

function options(): TidelockOptions {
  const token = async (): Promise<string> => {
    const response = await fetch("/v1/dev/token", { method: "POST", body: JSON.stringify({ sub: "ann" }) });
    return ((await response.json()) as { token: string }).token;
  };
  return {
    url: new URL("/v1/sync", location.href.replace(/^http/, "ws")).href,
    database: NAME,
    token,
    stores: ["notes"],
  };
}

function result<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("the request failed"));
  });
}

function done(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new Error("the transaction failed"));
  });
}

async function raw(): Promise<Application> {
  const factory = wrap(indexedDB, options());
  const request = factory.open(NAME, VERSION);
  request.onupgradeneeded = () =>
    request.result.createObjectStore("notes", { keyPath: "id" }).createIndex("tag", "tag");
  const database = await result(request);
  const write = (): [IDBObjectStore, IDBTransaction] => {
    const transaction = database.transaction("notes", "readwrite");
    return [transaction.objectStore("notes"), transaction];
  };
  const read = (): IDBObjectStore => database.transaction("notes").objectStore("notes");
  return {
    sync: factory.sync,
    async add(note) {
      const [store, transaction] = write();
      store.add(note);
      await done(transaction);
    },
    async bump(tag) {
      const [store, transaction] = write();
      const cursors = store.index("tag").openCursor(tag);
      cursors.onsuccess = () => {
        const cursor = cursors.result;
        if (cursor === null) return;
        const note = cursor.value as Note;
        cursor.update({ ...note, count: note.count + 1 });
        cursor.continue();
      };
      await done(transaction);
    },
    async remove(id) {
      const [store, transaction] = write();
      store.delete(id);
      await done(transaction);
    },
    all: () => result(read().getAll() as IDBRequest<Note[]>),
    byTag: (tag) => result(read().index("tag").getAll(tag) as IDBRequest<Note[]>),
  };
}

async function withIdb(): Promise<Application> {
  const sync = install(options());
  const database = await openDB<{ notes: { key: string; value: Note; indexes: { tag: string } } }>(NAME, VERSION, {
    upgrade(upgraded) {
      upgraded.createObjectStore("notes", { keyPath: "id" }).createIndex("tag", "tag");
    },
  });
  return {
    sync,
    async add(note) {
      await database.add("notes", note);
    },
    async bump(tag) {
      const transaction = database.transaction("notes", "readwrite");
      for await (const cursor of transaction.store.index("tag").iterate(tag)) {
        await cursor.update({ ...cursor.value, count: cursor.value.count + 1 });
      }
      await transaction.done;
    },
    remove: (id) => database.delete("notes", id),
    all: () => database.getAll("notes"),
    byTag: (tag) => database.getAllFromIndex("notes", "tag", tag),
  };
}

/** Results of Dexie's live query by tag, the latest last. */
const live: Note[][] = [];

async function withDexie(): Promise<Application> {
  const factory = wrap(indexedDB, options());
  const database = new Dexie(NAME, { indexedDB: factory, IDBKeyRange: IDBKeyRange });
  database.version(VERSION / 10).stores({ notes: "id, tag" });
  await database.open();
  connectDexie(Dexie, factory.sync, NAME);
  const notes: Table<Note, string> = database.table("notes");
  liveQuery(() => notes.where("tag").equals("red").toArray()).subscribe((rows) => void live.push(rows));
  return {
    sync: factory.sync,
    async add(note) {
      await notes.add(note);
    },
    async bump(tag) {
      await notes
        .where("tag")
        .equals(tag)
        .modify((note) => {
          Object.assign(note, { count: note.count + 1 });
        });
    },
    remove: (id) => notes.delete(id),
    all: () => notes.toArray(),
    byTag: (tag) => notes.where("tag").equals(tag).toArray(),
  };
}

const apps: Record<"raw" | "idb" | "dexie", () => Promise<Application>> = { raw: raw, idb: withIdb, dexie: withDexie };

declare global {
  // eslint-disable-next-line no-var
  var application: Application;
  // eslint-disable-next-line no-var
  var start: (kind: keyof typeof apps) => Promise<void>;
  // eslint-disable-next-line no-var
  var liveResults: Note[][];
}

globalThis.liveResults = live;
globalThis.start = async (kind) => {
  globalThis.application = await apps[kind]();
};
