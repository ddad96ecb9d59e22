/**
 * Builds dist/: `index.js` and `dexie.js` (ES modules), `tidelock.js` (plain script, global `tidelock`), `worker.js` (classic worker, for both) and
 * the type declarations. The WASM core is there before (`cargo xtask build`).
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { minify } from "terser";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const wasm = here("dist/tidelock_core_bg.wasm");
if (!existsSync(wasm)) {
  console.error(
    "tidelock: dist/tidelock_core_bg.wasm is missing: run `cargo xtask build`, which makes the WASM core first",
  );
  process.exit(1);
}

// What an earlier build left would travel with the package.
for (const name of readdirSync(here("dist"))) {
  if (name !== "tidelock_core_bg.wasm") rmSync(here(`dist/${name}`), { recursive: true });
}

const { version } = JSON.parse(readFileSync(here("package.json"), "utf8"));
const core = createHash("sha256").update(readFileSync(wasm));
/** Told with a trap of the core: which file the numbers in its stack are about. */
const coreBuild = `tidelock ${version}, core ${core.digest("hex").slice(0, 12)}`;

const common = {
  bundle: true,
  minify: true,
  sourcemap: "linked",
  target: ["es2022"],
  charset: "utf8",
  legalComments: "none",
  logLevel: "warning",
};
await build({
  ...common,
  entryPoints: { worker: here("src/worker/worker.ts") },
  outdir: here("dist"),
  format: "iife",
  define: { CORE_BUILD: JSON.stringify(coreBuild) },
});
await build({
  ...common,
  entryPoints: { index: here("src/index.ts"), dexie: here("src/dexie.ts") },
  outdir: here("dist"),
  format: "esm",
});
await build({
  ...common,
  entryPoints: { tidelock: here("src/index.ts") },
  outdir: here("dist"),
  format: "iife",
  globalName: "tidelock",
  banner: { js: "var __tidelockScript = document.currentScript && document.currentScript.src;" },
  define: { "import.meta.url": "__tidelockScript" },
});
// What esbuild leaves; docs/decisions/0007-size-of-the-browser-core.md tells what it saves.
for (const [name, module] of [
  ["worker.js", false],
  ["index.js", true],
  ["dexie.js", true],
  ["tidelock.js", false],
]) {
  const file = here(`dist/${name}`);
  const sourceMap = { content: readFileSync(`${file}.map`, "utf8"), url: `${name}.map` };
  const { code, map } = await minify(readFileSync(file, "utf8"), {
    module,
    ecma: 2020,
    compress: { passes: 3 },
    sourceMap,
  });
  writeFileSync(file, code);
  writeFileSync(`${file}.map`, map);
}
execFileSync(process.execPath, [here("../../node_modules/typescript/bin/tsc"), "-p", here("tsconfig.build.json")], {
  stdio: "inherit",
});
