/** The end of an IndexedDB transaction as a promise. */
export function completed<T>(transaction: IDBTransaction, failure: string, result: () => T): Promise<T> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(result());
    transaction.onabort = () => reject(transaction.error ?? new Error(failure));
  });
}
