/** Capture: notes, in the application's own transactions, which documents of the opted-in stores changed. */
export { installFactory, wrapFactory } from "./factory.ts";
export { lossOf } from "./loss.ts";
export { HIDDEN_PREFIX, HIDDEN_STORES, STATE_STORE, isHidden, outboxName } from "./names.ts";
export type { CaptureConfig, CapturedKeys, MarkedRange, OutboxRecord } from "./types.ts";
