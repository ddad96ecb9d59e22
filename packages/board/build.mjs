/**
 * Builds the board into dist/: index.html, app.js, app.css and icons, nothing from other hosts.
 *
 * The browser package's build (../tidelock/dist) is copied beside app.js, where src/sync.ts loads it. Without it the
 * board says so and works on this device only. Fails when app.js exceeds its budget.
 */
import { cp, mkdir, readdir, rm, stat } from "node:fs/promises";
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const APP_BYTES_MAX = 60 * 1024;

/** What the page loads of the browser package: the module, its worker and the core; not the types. */
const ENGINE_FILES = /^((index|worker)\.js(\.map)?|.*\.wasm)$/;

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const dist = here("dist/");

await rm(dist, { recursive: true, force: true });
await mkdir(dist, { recursive: true });
await cp(here("public"), dist, { recursive: true });
await build({
  entryPoints: { app: here("src/main.ts") },
  outdir: dist,
  chunkNames: "[name]",
  bundle: true,
  splitting: true,
  format: "esm",
  target: ["es2022"],
  charset: "utf8",
  minify: true,
  sourcemap: "linked",
  logLevel: "warning",
});
await build({
  entryPoints: { app: here("src/styles/app.css") },
  outdir: dist,
  bundle: true,
  minify: true,
  target: ["chrome120", "firefox125", "safari17.4"],
  logLevel: "warning",
});
const engine = here("../tidelock/dist");
const hasEngine = await stat(engine).then(
  (found) => found.isDirectory(),
  () => false,
);
if (hasEngine) {
  await mkdir(`${dist}tidelock`);
  for (const file of await readdir(engine)) {
    if (ENGINE_FILES.test(file)) await cp(join(engine, file), join(dist, "tidelock", file));
  }
}

// The service worker keeps all files but itself and the source maps; the page is kept under the address of its folder.
const files = (await readdir(dist, { recursive: true, withFileTypes: true }))
  .filter((entry) => entry.isFile() && !/\.(map|d\.ts)$/.test(entry.name))
  .map((entry) => relative(dist, join(entry.parentPath, entry.name)))
  .map((file) => (file === "index.html" ? "./" : file.replaceAll("\\", "/")));
await build({
  entryPoints: { sw: here("src/service-worker.js") },
  outdir: dist,
  minify: true,
  define: { FILES: JSON.stringify(files.sort()) },
  logLevel: "warning",
});

const { size } = await stat(`${dist}app.js`);
console.log(`board: app.js ${size} bytes, ${hasEngine ? "with" : "without"} the sync engine`);
if (size > APP_BYTES_MAX) {
  console.error(`board: app.js exceeds ${APP_BYTES_MAX} bytes`);
  process.exitCode = 1;
}
