// Builds what the Python package carries and commits: installing durable_nb needs no Node.
// The same sources give the same bytes (esbuild is pinned), so CI can rebuild and compare.
import { readdirSync, rmSync } from "node:fs";
import { build } from "esbuild";
import { buildLabExtension } from "./build.lab.mjs";

const here = (path) => new URL(path, import.meta.url).pathname;
const shared = { absWorkingDir: here("."), bundle: true, charset: "utf8", logLevel: "warning" };

if (process.argv.includes("--test")) {
  const names = readdirSync(here("test"), { recursive: true }).filter((name) => name.endsWith(".test.ts"));
  rmSync(here("build/test"), { recursive: true, force: true });
  await build({
    ...shared,
    format: "esm",
    entryPoints: names.map((name) => `test/${name}`),
    outdir: "build/test",
    outbase: "test",
    outExtension: { ".js": ".mjs" },
    platform: "node",
    packages: "external",
    sourcemap: "inline",
  });
} else {
  const product = { ...shared, minify: true, target: ["es2022", "chrome111", "firefox113", "safari16.4"] };
  const outdir = here("../durable_nb/notebook/static");
  await build({ ...product, format: "esm", entryPoints: { panel: "src/widget.ts" }, outdir });
  await build({ ...product, entryPoints: { panel: "src/panel/panel.css" }, outdir });
  await buildLabExtension(product, here("../durable_nb/labextension"));
}
