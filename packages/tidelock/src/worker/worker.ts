/** Entry of the leader's dedicated worker: loads the WASM core and runs the engine. */
import { messageOf } from "../failure.ts";
import type { FromWorker, ToWorker, WorkerSetup } from "../messages.ts";
import { loadCore } from "./core.ts";
import { Engine } from "./engine.ts";

let engine: Engine | null = null;
const waiting: ToWorker[] = [];

function post(message: FromWorker): void {
  self.postMessage(message);
}

async function start(setup: WorkerSetup): Promise<void> {
  const core = await loadCore(setup.wasmUrl);
  engine = new Engine(core, setup, post);
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
