// A prebuilt extension of JupyterLab without JupyterLab's builder (421 MB against 12). What Lab loads is a script that
// sets window._JUPYTERLAB[name] = { init(shareScope), get(module) }; the rest is a package.json that names the script.
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const here = (path) => new URL(path, import.meta.url).pathname;
const NAME = "durable-nb"; // also the folder in share/jupyter/labextensions, and the first half of the plugin's id
const SHARED = /^(@jupyterlab|@lumino)\//;

export async function buildLabExtension(options, outdir) {
  const { version, license, description } = JSON.parse(readFileSync(here("package.json"), "utf8"));
  const names = new Set();
  const script = await bundle({ ...options, plugins: [fromShareScope(names)] }, "src/lab/index.ts", "cjs");
  const style = await bundle(options, "src/lab/lab.css");
  const entry = container(script, style, [...names].sort());
  // The hash in the name makes browsers forget the old one.
  const load = `static/remoteEntry.${createHash("sha256").update(entry).digest("hex").slice(0, 16)}.js`;

  rmSync(outdir, { recursive: true, force: true });
  mkdirSync(`${outdir}/static`, { recursive: true });
  writeFileSync(`${outdir}/${load}`, entry);
  cpSync(here("schema"), `${outdir}/schemas/${NAME}`, { recursive: true });
  const _build = { load, extension: "./extension", style: "./style" };
  const jupyterlab = { extension: true, schemaDir: "schema", _build };
  const manifest = { name: NAME, version, description, license, jupyterlab };
  writeJson(`${outdir}/package.json`, manifest);
  writeJson(`${outdir}/schemas/${NAME}/package.json.orig`, manifest); // where the settings editor looks for a version
  writeJson(`${outdir}/install.json`, {
    packageManager: "python",
    packageName: NAME,
    uninstallInstructions: `Run \`pip uninstall ${NAME}\` in the Python environment of JupyterLab.`,
  });
}

async function bundle(options, entryPoint, format) {
  const made = await build({ ...options, entryPoints: [entryPoint], write: false, ...(format && { format }) });
  return made.outputFiles[0].text;
}

/** Imports of Jupyter's packages become look-ups in `shared`, which the container fills; `names` collects them. */
function fromShareScope(names) {
  return {
    name: "share-scope",
    setup(builder) {
      builder.onResolve({ filter: SHARED }, ({ path }) => {
        names.add(path);
        return { path, namespace: "share-scope" };
      });
      builder.onLoad({ filter: /.*/, namespace: "share-scope" }, ({ path }) => ({
        contents: `module.exports = shared[${JSON.stringify(path)}]`,
        loader: "js",
      }));
    },
  };
}

/** The script that Lab loads. Of several versions in scope the one already running is taken: tokens are compared by identity. */
function container(script, style, names) {
  return `(() => {
let scope, loaded;
const pick = (name) => {
  const versions = scope[name] ?? {};
  const newest = (a, b) => b.localeCompare(a, undefined, { numeric: true });
  const best = Object.keys(versions).sort((a, b) => !!versions[b].loaded - !!versions[a].loaded || newest(a, b))[0];
  if (best === undefined) throw new Error("${NAME}: this front end does not share " + name);
  return Promise.resolve(versions[best].get()).then((make) => make());
};
const load = async () => {
  const names = ${JSON.stringify(names)};
  const found = await Promise.all(names.map(pick));
  const shared = Object.fromEntries(names.map((name, index) => [name, found[index]]));
  const module = { exports: {} };
  ((module, exports, shared) => {
${script}})(module, module.exports, shared);
  return () => module.exports;
};
const style = () => {
  const element = document.createElement("style");
  element.textContent = ${JSON.stringify(style)};
  document.head.append(element);
  return {};
};
(window._JUPYTERLAB ??= {})[${JSON.stringify(NAME)}] = {
  init(shareScope) { scope = shareScope; },
  async get(module) {
    if (module === "./style") return style;
    if (module === "./extension") return (loaded ??= load());
    throw new Error("${NAME} has no module " + module);
  },
};
})();
`;
}

function writeJson(path, value) {
  writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`);
}
