import { writes } from "./capture-writes.ts";

globalThis.cases = { ...writes };
