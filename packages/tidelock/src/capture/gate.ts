/**
 * The listeners on a connection. They are capture listeners registered before the application sees the connection, so
 * they run first for every event of every request and transaction of it: whatever the application's listeners stop,
 * hidden requests stay invisible and marks are written.
 */
import { applicationVersion } from "./names.ts";
import { natives } from "./natives.ts";
import { confirmAssumed, finish, guarded, settle, transactionStates, writeMarks } from "./outbox.ts";
import type { DatabaseState, TransactionState } from "./outbox.ts";

/** Dresses the result of a cursor request; given by the module that knows the prototypes. */
export type CursorDresser = (request: IDBRequest, state: TransactionState) => void;

export function guardConnection(state: DatabaseState, dressCursor: CursorDresser): void {
  const { database } = state;
  const { listen } = natives();
  const onRequest = (event: Event): void => onRequestEvent(event, dressCursor);
  listen.call(database, "success", onRequest, true);
  listen.call(database, "error", onRequest, true);
  listen.call(database, "complete", onComplete, true);
  listen.call(database, "versionchange", (event) => onVersionChange(event, state), true);
}

function onRequestEvent(event: Event, dressCursor: CursorDresser): void {
  if (!event.isTrusted) return;
  const native = natives();
  const request = event.target as IDBRequest;
  const transaction = native.request.transaction(request);
  const state = transaction === null ? undefined : transactionStates.get(transaction);
  if (state === undefined) return;
  if (state.hidden.size > 0 && state.hidden.has(request)) return onHiddenEvent(event, request, state);
  const succeeded = event.type === "success";
  if (succeeded && state.cursors.has(request)) dressCursor(request, state);
  if (state.last !== request) return;
  confirmAssumed(state);
  // After an error the transaction lives on only if the application prevents the default: the marks must be there.
  if (state.unmarked.size === 0) state.last = null;
  else if (succeeded) awaitListeners(event, request, state);
  else writeMarks(state);
}

/** The default action of an error stays: a mark that cannot be written aborts the application's transaction. */
function onHiddenEvent(event: Event, request: IDBRequest, state: TransactionState): void {
  const native = natives();
  native.event.stopImmediatePropagation.call(event);
  const then = state.hidden.get(request);
  state.hidden.delete(request);
  if (event.type === "success" && then) then(native.request.result(request));
}

function onComplete(event: Event): void {
  if (!event.isTrusted) return;
  const state = transactionStates.get(event.target as IDBTransaction);
  if (state !== undefined) finish(state);
}

/** Makes `settle` run after the application's listeners for this event, or as soon as one of them cuts it short. */
function awaitListeners(event: Event, request: IDBRequest, state: TransactionState): void {
  guardedEvents.set(event, state);
  Object.setPrototypeOf(event, (guardedPrototype ??= createGuardedPrototype()));
  natives().listen.call(request, "success", onListenersDone, { once: true });
}

function onListenersDone(event: Event): void {
  const state = guardedEvents.get(event);
  if (state !== undefined) settle(state, event.target as IDBRequest);
}

const guardedEvents = new WeakMap<Event, TransactionState>();

let guardedPrototype: Event | undefined;

function cutShort(event: Event): void {
  const state = guardedEvents.get(event);
  if (state !== undefined && state.last === event.target) writeMarks(state);
}

/** An event whose propagation methods write the marks first when they keep `onListenersDone` from being called. */
function createGuardedPrototype(): Event {
  const native = natives().event;
  const stopPropagation = function (this: Event): void {
    if (this.eventPhase === Event.CAPTURING_PHASE) cutShort(this);
    native.stopPropagation.call(this);
  };
  return Object.create(Event.prototype, {
    stopPropagation: { value: stopPropagation, configurable: true, writable: true },
    stopImmediatePropagation: {
      value: function stopImmediatePropagation(this: Event): void {
        cutShort(this);
        native.stopImmediatePropagation.call(this);
      },
      configurable: true,
      writable: true,
    },
    cancelBubble: {
      get(this: Event): unknown {
        return Reflect.get(Event.prototype, "cancelBubble", this);
      },
      set(this: Event, value: unknown) {
        if (value) stopPropagation.call(this);
      },
      configurable: true,
    },
  }) as Event;
}

/** Rewrites the versions that an event carries into the application's. */
export function mapVersions(event: IDBVersionChangeEvent, adopted: boolean): void {
  const { oldVersion, newVersion } = event;
  Object.defineProperty(event, "oldVersion", { value: applicationVersion(oldVersion, adopted), configurable: true });
  const mapped = newVersion === null ? null : applicationVersion(newVersion, true);
  Object.defineProperty(event, "newVersion", { value: mapped, configurable: true });
}

/**
 * An upgrade that leaves the application's version alone comes from another page with other stores opted in. The
 * application has no reason to expect it, so the connection is closed for it and a `close` event says so, as when the
 * browser closes a connection.
 */
function onVersionChange(event: Event, state: DatabaseState): void {
  if (!(event instanceof IDBVersionChangeEvent) || !event.isTrusted) return;
  const { config, database } = state;
  mapVersions(event, true);
  if (event.newVersion === event.oldVersion) {
    natives().database.close.call(database);
    setTimeout(() => natives().dispatch.call(database, new Event("close")), 0);
  }
  guarded(() => config.onVersionChange?.());
}
