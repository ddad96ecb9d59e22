/** The engine's own connection to the database. */
import { lossOf } from "../capture/loss.ts";
import { STATE_STORE } from "../capture/names.ts";

/** The application deleted the database. */
export class DatabaseGone extends Error {}

/** Opens the database as it is; `closed` is called when somebody upgrades or deletes it, or the browser closes it. */
export function openNative(name: string, closed: () => void): Promise<IDBDatabase> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(name);
    // A database that has to be made first was deleted since the tab opened it.
    request.onupgradeneeded = (event) => {
      const loss = lossOf(event);
      reject(
        new DatabaseGone(`the database ${name} is gone${loss === null ? "" : `: the browser deleted it: ${loss}`}`),
      );
      request.transaction?.abort();
    };
    request.onerror = () => reject(request.error ?? new Error(`the database ${name} cannot be opened`));
    request.onsuccess = () => {
      const database = request.result;
      if (!database.objectStoreNames.contains(STATE_STORE)) {
        database.close();
        return reject(new DatabaseGone(`the database ${name} is not synced`));
      }
      database.onversionchange = () => {
        database.close();
        closed();
      };
      database.onclose = closed;
      resolve(database);
    };
  });
}
