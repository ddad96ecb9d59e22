/** Watches the core for traps. A core that has trapped is in no state to go on. */
import { messageOf } from "../failure.ts";
import type { Core } from "./core.ts";

/** Which core this is, as the build says: the package's version and a hash of the WASM file. */
declare const CORE_BUILD: string;

/** Lines of a trap's stack that are told: they name the functions of the WASM file by number. */
const STACK_LINES_MAX = 4;

/** The core; the first call that fails is told to `stopped`, and no later one reaches the core. */
export function guarded(core: Core, stopped: (reason: string) => void): Core {
  let reason: string | null = null;
  const call =
    (method: (...args: unknown[]) => unknown) =>
    (...args: unknown[]): unknown => {
      if (reason !== null) throw new Error(reason);
      try {
        return method.apply(core, args);
      } catch (error) {
        reason = `the core stopped (${CORE_BUILD}): ${describe(error)}`;
        stopped(reason);
        throw error;
      }
    };
  return new Proxy(core, {
    get(target, name) {
      const member: unknown = Reflect.get(target, name);
      return typeof member === "function" ? call(member as (...args: unknown[]) => unknown) : member;
    },
  });
}

function describe(error: unknown): string {
  const stack = error instanceof Error ? (error.stack ?? "") : "";
  return [messageOf(error), ...stack.split("\n").slice(0, STACK_LINES_MAX)].map((line) => line.trim()).join(" | ");
}
