/**
 * Stands in for the built package `tidelock` in the board's tests: it syncs nothing, and shows what the test put into
 * localStorage["stub"] ({ status, conflicts, rejected }). Calls are recorded in globalThis.stubCalls.
 */
export function wrap(factory, options) {
  const { status = {}, conflicts = [], rejected = [] } = JSON.parse(localStorage.getItem("stub") ?? "{}");
  const listeners = [];
  globalThis.stubCalls = [];
  globalThis.stubOptions = options;
  globalThis.stubEmit = (event, value) => listeners.filter(([name]) => name === event).forEach(([, run]) => run(value));
  const sync = {
    status: {
      phase: "live",
      online: true,
      leader: true,
      pending: 0,
      oldestPendingMs: null,
      rejected: rejected.length,
      conflicts: conflicts.length,
      lastSyncedAt: Date.now(),
      error: null,
      ...status,
    },
    on(event, listener) {
      const entry = [event, listener];
      listeners.push(entry);
      return () => listeners.splice(listeners.indexOf(entry), 1);
    },
    conflicts: async () => conflicts,
    rejected: async () => rejected,
    retry: async (id) => void globalThis.stubCalls.push(["retry", id]),
    discard: async (id) => {
      globalThis.stubCalls.push(["discard", id]);
      rejected.splice(
        rejected.findIndex((entry) => entry.id === id),
        1,
      );
      set({ rejected: rejected.length });
    },
    goOffline: () => set({ online: false, phase: "offline" }),
    goOnline: () => set({ online: true, phase: "live" }),
    flush: async () => undefined,
    signOut: async () => undefined,
    close: async () => undefined,
  };
  const set = (part) => {
    sync.status = { ...sync.status, ...part };
    globalThis.stubEmit("status", sync.status);
  };
  globalThis.stubSet = set;
  return {
    open: (...args) => factory.open(...args),
    deleteDatabase: (name) => factory.deleteDatabase(name),
    databases: () => factory.databases(),
    cmp: (a, b) => factory.cmp(a, b),
    sync,
  };
}
