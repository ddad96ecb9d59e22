import { libraries } from "./capture-libraries.ts";
import { opening } from "./capture-opening.ts";
import { schema } from "./capture-schema.ts";
import { shape } from "./capture-shape.ts";
import { writes } from "./capture-writes.ts";

globalThis.cases = { ...writes, ...schema, ...opening, ...shape, ...libraries };
