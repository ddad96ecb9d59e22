/** What a browser says when it has deleted the databases of an origin because it could not read them. */

/**
 * The browser's words, if the database is made anew because what was there could not be read. Chromium says so in the
 * upgrade event of the first database that is opened then (`dataLoss`, not standardised); other browsers say nothing.
 */
export function lossOf(event: IDBVersionChangeEvent): string | null {
  const { dataLoss, dataLossMessage } = event as IDBVersionChangeEvent & {
    readonly dataLoss?: unknown;
    readonly dataLossMessage?: unknown;
  };
  return dataLoss === "total" ? String(dataLossMessage) : null;
}
