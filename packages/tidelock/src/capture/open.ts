/**
 * Opening the captured database. The application gets the native request of the first attempt. Where one native open
 * is not enough (a database that is not adopted, a sub-version, an opted-in store without an outbox), further attempts
 * run behind it and their outcome is reflected onto it: every run ends with one `success` or `error` on that request.
 */
import { dressDatabase, dressUpgrade } from "./dress.ts";
import { mapVersions } from "./gate.ts";
import { lossOf } from "./loss.ts";
import { applicationVersion, nativeVersion, nextSubVersion } from "./names.ts";
import { natives } from "./natives.ts";
import { guarded } from "./outbox.ts";
import { adopt, dropOptedOut, isAdopted, missingOutboxes } from "./schema.ts";
import type { CaptureConfig } from "./types.ts";

/** Attempts before a run gives up. Each one more needs another page to have changed the database meanwhile. */
const ATTEMPTS_MAX = 16;

/** Names of databases of this page that were seen adopted: version numbers alone do not tell. */
export const seenAdopted: Set<string> = new Set();

/** Opens the configured database for the application; `version` is valid, or `undefined` for the one it has. */
export function openCaptured(
  factory: IDBFactory,
  config: CaptureConfig,
  version: number | undefined,
): IDBOpenDBRequest {
  return new OpenRun(factory, config, version).request;
}

class OpenRun {
  readonly request: IDBOpenDBRequest;
  readonly #factory: IDBFactory;
  readonly #config: CaptureConfig;
  readonly #version: number | undefined;
  #attempts = 0;
  /** Why the attempt under way is going to fail, when the run itself made it fail. */
  #refusal: DOMException | "again" | null = null;

  constructor(factory: IDBFactory, config: CaptureConfig, version: number | undefined) {
    this.#factory = factory;
    this.#config = config;
    this.#version = version;
    this.request = this.#attempt(this.#firstVersion());
  }

  #firstVersion(): number | undefined {
    return this.#version === undefined ? undefined : nativeVersion(this.#version);
  }

  #attempt(native: number | undefined): IDBOpenDBRequest {
    this.#attempts++;
    const { open } = natives().factory;
    const name = this.#config.database;
    const request = native === undefined ? open.call(this.#factory, name) : open.call(this.#factory, name, native);
    const listen = (type: string, listener: (event: Event) => void): void => {
      natives().listen.call(request, type, (event) => void (event.isTrusted && listener(event)), true);
    };
    listen("upgradeneeded", (event) => this.#onUpgrade(event as IDBVersionChangeEvent, request, native));
    listen("blocked", (event) => this.#onBlocked(event as IDBVersionChangeEvent, request));
    listen("success", (event) => this.#onSuccess(event, request));
    listen("error", (event) => this.#onError(event, request, native));
    return request;
  }

  /** Another attempt, in place of the outcome of this one. */
  #again(native: number | undefined): void {
    reflect(this.request, { readyState: "pending" });
    if (this.#attempts < ATTEMPTS_MAX) {
      this.#attempt(native);
      return;
    }
    this.#fail(new DOMException("The database kept being changed by others while it was opened.", "AbortError"));
  }

  /** `asked` is the native version of the attempt. */
  #onUpgrade(event: IDBVersionChangeEvent, request: IDBOpenDBRequest, asked: number | undefined): void {
    const native = natives();
    const loss = lossOf(event);
    // Said once, whatever becomes of this attempt.
    if (loss !== null) guarded(() => this.#config.onLost?.(loss));
    const database = native.request.result(request) as IDBDatabase;
    const transaction = native.request.transaction(request) as IDBTransaction;
    const before = applicationVersion(event.oldVersion, isAdopted(database));
    const refusal = this.#refusalOf(before, asked);
    if (refusal !== null) {
      this.#refusal = refusal;
      native.event.stopImmediatePropagation.call(event);
      native.transaction.abort.call(transaction);
      return;
    }
    const silent = before !== 0 && (this.#version === undefined || this.#version === before);
    const state = dressDatabase(database, this.#config);
    const upgrade = dressUpgrade(transaction, state);
    if (!silent) dropOptedOut(state);
    adopt(upgrade);
    Object.defineProperty(event, "oldVersion", { value: before, configurable: true });
    const after = applicationVersion(event.newVersion ?? 0, true);
    Object.defineProperty(event, "newVersion", { value: after, configurable: true });
    if (silent) native.event.stopImmediatePropagation.call(event);
    else if (request !== this.request) this.#relayUpgrade(database, transaction, before, after);
  }

  /** Why an upgrade from version `before`, in an attempt to open version `native`, must not happen, if so. */
  #refusalOf(before: number, native: number | undefined): DOMException | "again" | null {
    if (this.#version !== undefined) {
      if (before > this.#version) return versionError(this.#version, before);
      // An attempt without a version upgrades only what it creates: the database has been deleted meanwhile.
      return native === undefined ? "again" : null;
    }
    // Adoption leaves the version alone, so the database must still have the one it was seen with.
    return native !== undefined && applicationVersion(native, true) !== before ? "again" : null;
  }

  /** The database vanished between two attempts, so the application's own upgrade runs in a later one. */
  #relayUpgrade(database: IDBDatabase, transaction: IDBTransaction, oldVersion: number, newVersion: number): void {
    reflect(this.request, { readyState: "done", result: database, error: null, transaction });
    const event = new IDBVersionChangeEvent("upgradeneeded", { oldVersion, newVersion });
    natives().dispatch.call(this.request, event);
    reflect(this.request, { readyState: "pending", transaction: null });
  }

  #onBlocked(event: IDBVersionChangeEvent, request: IDBOpenDBRequest): void {
    mapVersions(event, seenAdopted.has(this.#config.database));
    if (request === this.request) return;
    const { oldVersion, newVersion } = event;
    natives().dispatch.call(this.request, new IDBVersionChangeEvent("blocked", { oldVersion, newVersion }));
  }

  #onSuccess(event: Event, request: IDBOpenDBRequest): void {
    const native = natives();
    const database = native.request.result(request) as IDBDatabase;
    const next = this.#next(database);
    if (next !== null) {
      native.event.stopImmediatePropagation.call(event);
      native.database.close.call(database);
      if (next instanceof DOMException) this.#fail(next);
      else this.#again(next.native);
      return;
    }
    dressDatabase(database, this.#config);
    seenAdopted.add(this.#config.database);
    guarded(() => this.#config.onOpened?.(native.database.name(database)));
    if (request !== this.request) this.#relay("success", { result: database, error: null });
  }

  /** What an opened database still needs: another attempt, a refusal, or nothing. */
  #next(database: IDBDatabase): { native: number | undefined } | DOMException | null {
    const native = natives().database.version(database);
    const adopted = isAdopted(database);
    const version = applicationVersion(native, adopted);
    if (this.#version !== undefined && version > this.#version) return versionError(this.#version, version);
    if (this.#version !== undefined && version < this.#version) return { native: this.#firstVersion() };
    if (!adopted) return { native: nativeVersion(version) };
    if (missingOutboxes(database, this.#config).length === 0) return null;
    const next = nextSubVersion(native);
    return next === undefined ? subVersionsUsedUp(version) : { native: next };
  }

  /** `asked` is the native version of the attempt. */
  #onError(event: Event, request: IDBOpenDBRequest, asked: number | undefined): void {
    const { error } = natives().request;
    const refusal = this.#refusal;
    this.#refusal = null;
    const outcome = refusal ?? error(request);
    if (refusal === null && error(request)?.name !== "VersionError" && request === this.request) return;
    natives().event.stopImmediatePropagation.call(event);
    event.preventDefault();
    if (outcome === "again") this.#again(this.#firstVersion());
    // The version may be that of a sub-version, which only the database itself can tell.
    else if (refusal === null && outcome?.name === "VersionError" && asked !== undefined) this.#again(undefined);
    else this.#fail(outcome);
  }

  #fail(error: DOMException | null): void {
    this.#relay("error", { result: undefined, error });
  }

  #relay(type: "success" | "error", outcome: { result: IDBDatabase | undefined; error: DOMException | null }): void {
    reflect(this.request, { ...outcome, readyState: "done", transaction: null });
    const failed = type === "error";
    natives().dispatch.call(this.request, new Event(type, { bubbles: failed, cancelable: failed }));
  }
}

function versionError(requested: number, existing: number): DOMException {
  const message = `The requested version (${requested}) is less than the existing version (${existing}).`;
  return new DOMException(message, "VersionError");
}

function subVersionsUsedUp(version: number): DOMException {
  const message = `The stores opted in were changed too often for version ${version} of the database: raise its version.`;
  return new DOMException(message, "InvalidStateError");
}

/** Shadows attributes of the application's request. */
function reflect(request: IDBOpenDBRequest, attributes: Partial<Record<keyof IDBOpenDBRequest, unknown>>): void {
  for (const [name, value] of Object.entries(attributes)) {
    Object.defineProperty(request, name, { value, configurable: true });
  }
}
