/** The few promises around raw IndexedDB that the board needs. Only requests may be awaited inside a transaction. */

/** The result of one request. */
export function result<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error ?? new Error("IndexedDB request failed"));
  });
}

/** Resolves when the transaction is committed, rejects when it was aborted. */
export function committed(tx: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    tx.oncomplete = () => resolve();
    tx.onabort = () => reject(tx.error ?? new DOMException("The transaction was aborted", "AbortError"));
  });
}

/** Calls `visit` for each row of `source` until it returns false. */
export function walk(
  source: IDBRequest<IDBCursorWithValue | null>,
  visit: (cursor: IDBCursorWithValue) => boolean | void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    source.onerror = () => reject(source.error ?? new Error("IndexedDB cursor failed"));
    source.onsuccess = () => {
      const cursor = source.result;
      if (!cursor || visit(cursor) === false) resolve();
      else cursor.continue();
    };
  });
}
