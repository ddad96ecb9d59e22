/** The WASM core, as `crates/wasm` exports it. The build maps `#core` to the generated glue. */
declare module "#core" {
  export default function init(options: { module_or_path: string | URL }): Promise<unknown>;

  export class WorkerEffect {
    readonly kind: string;
    readonly detail: string;
    bytes(): Uint8Array<ArrayBuffer>;
    free(): void;
  }

  export class WorkerStep {
    readonly verdict: "continue" | "commit" | "abort";
    readonly plan: string;
    readonly bodies: string;
    readonly blobs: Uint8Array[];
    free(): void;
  }

  export class Core {
    constructor(
      database: string,
      collections: string[],
      channels: string[] | undefined,
      resolver: boolean,
      offline: boolean,
      seed: number,
      now: number,
    );
    keep(ms: number, bytes: number): void;
    poll_effect(): WorkerEffect | undefined;
    next_timeout_ms(): number | undefined;
    handle_timeout(now: number): void;
    handle_captured(now: number): void;
    handle_rejected_removed(now: number): void;
    handle_schema_changed(now: number): void;
    quarantine(): string;
    handle_connected(now: number, token: string): void;
    handle_disconnected(now: number, reason: string): void;
    handle_message(now: number, bytes: Uint8Array): void;
    handle_token(now: number, token: string): void;
    handle_network_hint(now: number): void;
    set_online(now: number, online: boolean): void;
    set_channels(now: number, channels: string[] | undefined): void;
    resolve(now: number, collection: string, key: string, round: number, value: string | undefined): void;
    status(): string;
    is_synced(): boolean;
    task_relaxed(): boolean;
    step(): WorkerStep;
    task_committed(now: number): void;
    task_failed(now: number, failure: string, message: string): void;
    row_refused(collection: string, key: string, reason: string): void;
    read_state(bytes: Uint8Array | undefined): void;
    read_pages(names: string[]): void;
    read_page(bytes: Uint8Array | undefined): void;
    read_pending(sequences: Float64Array, records: Uint8Array[]): void;
    read_rejected_count(count: number): void;
    read_outbox(): void;
    add_outbox_record(
      number: number,
      transaction: string,
      at: number,
      keys: string[],
      unsupported: string[],
      adopt: boolean,
    ): void;
    add_outbox_range(
      lower: string | undefined,
      upper: string | undefined,
      lowerOpen: boolean,
      upperOpen: boolean,
    ): void;
    read_rows(texts: string[]): void;
    read_scan(keys: string[], texts: string[]): void;
  }
}
