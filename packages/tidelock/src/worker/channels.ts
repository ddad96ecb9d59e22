/** The channels that the application asks for at run time: kept in the state store, so that the next engine goes on with them. */
import { STATE_STORE } from "../capture/names.ts";
import { completed } from "./transaction.ts";

/** Key of their record in the state store. */
const RECORD = "channels";

/** What is stored: what was made at run time of the channels in the application's options. */
interface Stored {
  readonly first: readonly string[];
  readonly wanted: readonly string[];
}

export class Channels {
  private readonly first: readonly string[];
  /** Known once the record was read. */
  private wanted: ReadonlySet<string> | null = null;

  constructor(first: readonly string[]) {
    this.first = first;
  }

  /** The channels of the record, when it is read for the first time; it counts as long as the options are the same. */
  async recall(database: IDBDatabase): Promise<string[] | undefined> {
    if (this.wanted !== null) return undefined;
    const stored = (await request(database, "readonly", (store) => store.get(RECORD))) as Stored | undefined;
    // Two may have read it.
    this.wanted ??= new Set(JSON.stringify(stored?.first) === JSON.stringify(this.first) ? stored?.wanted : this.first);
    return [...this.wanted];
  }

  /** Adds channels or takes them off; all that are wanted, when that is durable. */
  async change(database: IDBDatabase, add: boolean, channels: readonly string[]): Promise<string[]> {
    await this.recall(database);
    const wanted = new Set(this.wanted);
    for (const channel of channels) {
      if (add) wanted.add(channel);
      else wanted.delete(channel);
    }
    // At once: the next change is made of it.
    this.wanted = wanted;
    const stored: Stored = { first: this.first, wanted: [...wanted] };
    await request(database, "readwrite", (store) => store.put(stored, RECORD));
    return [...this.wanted];
  }
}

/** The result of one request, when its transaction has committed. */
function request(
  database: IDBDatabase,
  mode: IDBTransactionMode,
  ask: (store: IDBObjectStore) => IDBRequest,
): Promise<unknown> {
  const transaction = database.transaction(STATE_STORE, mode);
  const asked = ask(transaction.objectStore(STATE_STORE));
  return completed(transaction, "the list of channels cannot be stored", () => asked.result as unknown);
}
