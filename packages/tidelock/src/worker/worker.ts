/** Entry of the leader's dedicated worker: loads the WASM core and runs the engine. */
import init, { Core } from "#core";
import type { FromWorker, ToWorker, WorkerSetup } from "../messages.ts";
import { Engine } from "./engine.ts";
import { messageOf } from "./task.ts";

let engine: Engine | null = null;
const waiting: ToWorker[] = [];

function post(message: FromWorker): void {
  self.postMessage(message);
}

async function start(setup: WorkerSetup): Promise<void> {
  await init({ module_or_path: setup.wasmUrl });
  const seed = crypto.getRandomValues(new Uint32Array(2));
  const random = (seed[0] ?? 0) * 2 ** 21 + ((seed[1] ?? 0) >>> 11);
  const collections = setup.stores.map(([collection]) => collection);
  const channels = setup.channels === null ? undefined : [...setup.channels];
  const make = (now: number): Core => {
    const core = new Core(setup.remote, collections, channels, setup.resolver, setup.offline, random, now);
    core.keep(setup.kept.ms, setup.kept.bytes);
    return core;
  };
  engine = new Engine(make, setup, post);
  for (const message of waiting.splice(0)) engine.receive(message);
}

self.onmessage = (event: MessageEvent<ToWorker>) => {
  const message = event.data;
  if (message.kind === "setup") {
    start(message).catch((error: unknown) =>
      post({ kind: "failed", reason: `the engine cannot start: ${messageOf(error)}` }),
    );
  } else if (engine === null) waiting.push(message);
  else engine.receive(message);
};
