/** Every name that starts with this belongs to Tidelock and is invisible to the application. */
export const HIDDEN_PREFIX = "\u0001tl:";

const OUTBOX_PREFIX = `${HIDDEN_PREFIX}outbox:`;

/** Its presence says that the database is adopted: its native version is a mapped one. */
export const STATE_STORE: string = `${HIDDEN_PREFIX}state`;

/** A name that no store ever has. The native code is asked for it when the application names a hidden store. */
export const ABSENT_STORE: string = `${HIDDEN_PREFIX}absent`;

/** The stores that every adopted database has besides its outboxes. */
export const HIDDEN_STORES: readonly { readonly name: string; readonly options: IDBObjectStoreParameters }[] = [
  { name: STATE_STORE, options: {} },
  { name: `${HIDDEN_PREFIX}shadow`, options: {} },
  { name: `${HIDDEN_PREFIX}pending`, options: {} },
  { name: `${HIDDEN_PREFIX}rejected`, options: { autoIncrement: true } },
];

/** Native versions per application version: the application's version times this, plus a sub-version. */
const VERSION_STEP = 16;

/** The first sub-version of an application version. */
const SUB_VERSION_FIRST = 1;

/** The greatest version that an application can ask for. */
export const APPLICATION_VERSION_MAX: number = Math.floor((Number.MAX_SAFE_INTEGER - VERSION_STEP + 1) / VERSION_STEP);

export function isHidden(name: string): boolean {
  return name.startsWith(HIDDEN_PREFIX);
}

export function outboxName(store: string): string {
  return OUTBOX_PREFIX + store;
}

/** The store an outbox belongs to; `undefined` when the name is not an outbox's. */
export function outboxOwner(name: string): string | undefined {
  return name.startsWith(OUTBOX_PREFIX) ? name.slice(OUTBOX_PREFIX.length) : undefined;
}

/** The native version to open an application version with. */
export function nativeVersion(applicationVersion: number): number {
  return applicationVersion * VERSION_STEP + SUB_VERSION_FIRST;
}

/**
 * The version as the application knows it. A native version below the step is the application's own even in an adopted
 * database: `open(name)` without a version creates version 1, and the hidden stores join in that same upgrade.
 */
export function applicationVersion(native: number, adopted: boolean): number {
  return !adopted || native < VERSION_STEP ? native : Math.floor(native / VERSION_STEP);
}

/** The native version of the next upgrade that leaves the application's version alone; `undefined` when none is left. */
export function nextSubVersion(native: number): number | undefined {
  if (native < VERSION_STEP) return nativeVersion(native);
  return (native + 1) % VERSION_STEP === 0 ? undefined : native + 1;
}

/** Whether a native version can be that of an adopted database, as far as the number tells. */
export function mayBeMapped(native: number): boolean {
  return native > VERSION_STEP && native % VERSION_STEP !== 0;
}
