// Builds the panel into the Python package, where it is committed: installing durable_nb needs no Node.
// The same sources give the same bytes (esbuild is pinned), so CI can rebuild and compare.
import { readdirSync, rmSync } from "node:fs";
import { build } from "esbuild";

const here = (path) => new URL(path, import.meta.url).pathname;
const shared = { absWorkingDir: here("."), bundle: true, format: "esm", charset: "utf8", logLevel: "warning" };

if (process.argv.includes("--test")) {
  const names = readdirSync(here("test")).filter((name) => name.endsWith(".test.ts"));
  rmSync(here("build/test"), { recursive: true, force: true });
  await build({
    ...shared,
    entryPoints: names.map((name) => `test/${name}`),
    outdir: "build/test",
    outExtension: { ".js": ".mjs" },
    platform: "node",
    packages: "external",
    sourcemap: "inline",
  });
} else {
  const product = { ...shared, minify: true, target: ["es2022", "chrome111", "firefox113", "safari16.4"] };
  const outdir = here("../durable_nb/notebook/static");
  await build({ ...product, entryPoints: { panel: "src/widget.ts" }, outdir });
  await build({ ...product, entryPoints: { panel: "src/panel/panel.css" }, outdir });
}
