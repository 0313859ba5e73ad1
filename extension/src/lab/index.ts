/** The JupyterLab extension: everything it shows is read from the database, through the server. */

import { ILabShell, ILayoutRestorer, type JupyterFrontEnd, type JupyterFrontEndPlugin } from "@jupyterlab/application";
import { ICommandPalette } from "@jupyterlab/apputils";
import type { ICellModel } from "@jupyterlab/cells";
import { IDefaultFileBrowser } from "@jupyterlab/filebrowser";
import { INotebookTracker, type NotebookPanel } from "@jupyterlab/notebook";
import type { IMimeModel } from "@jupyterlab/rendermime";
import { ISettingRegistry } from "@jupyterlab/settingregistry";
import { IStatusBar } from "@jupyterlab/statusbar";

import { keepBadges } from "./badge";
import { watchForDeath } from "./banner";
import { addCommands, COMMANDS } from "./commands";
import { Extension } from "./extension";
import { MIME } from "./marks";
import type { Located, NotebookRuns } from "./notebook";
import { RunOutput } from "./renderer";
import { Sidebar } from "./sidebar";
import { Status } from "./status";

const PLUGIN = "durable-nb:plugin";
const RANK = -20; // before the widget view (-10) and everything static

const plugin: JupyterFrontEndPlugin<void> = {
  id: PLUGIN,
  description: "Shows durable runs: in outputs, on cells, in a sidebar, and after a kernel has died.",
  autoStart: true,
  requires: [INotebookTracker],
  optional: [ISettingRegistry, ICommandPalette, ILabShell, ILayoutRestorer, IDefaultFileBrowser, IStatusBar],
  activate: async (
    app: JupyterFrontEnd,
    tracker: INotebookTracker,
    registry: ISettingRegistry | null,
    palette: ICommandPalette | null,
    lab: ILabShell | null,
    restorer: ILayoutRestorer | null,
    browser: IDefaultFileBrowser | null,
    statusBar: IStatusBar | null,
  ) => {
    const extension = new Extension(app, tracker);
    const adopt = (panel: NotebookPanel) => decorate(extension, panel, lab !== null);
    tracker.forEach(adopt);
    tracker.widgetAdded.connect((_tracker, panel) => adopt(panel));
    await extension.settings.load(registry, PLUGIN, () => extension.refresh());
    const sidebar = lab !== null && extension.settings.get("sidebar");
    addCommands(extension, palette, { sidebar, main: lab !== null });
    if (sidebar) {
      const widget = new Sidebar(extension, browser);
      app.shell.add(widget, "left", { rank: 600 });
      restorer?.add(widget, widget.id);
    }
    if (statusBar) {
      const item = new Status(extension, () => sidebar && void app.commands.execute(COMMANDS.sidebar));
      statusBar.registerStatusItem(`${PLUGIN}:status`, { item, align: "left", rank: 90 });
    }
  },
};

/** Everything that one notebook gets. */
function decorate(extension: Extension, panel: NotebookPanel, main: boolean): void {
  const runs = extension.adopt(panel);
  const { settings, app } = extension;
  panel.content.rendermime.addFactory(
    { safe: true, mimeTypes: [MIME], createRenderer: () => new RunOutput(surroundings(extension, runs)) },
    RANK,
  );
  const execute = (command: string) => (run: Located) => void app.commands.execute(command, { ...runs.address(run) });
  const pressed = {
    show: main ? execute(COMMANDS.show) : () => undefined,
    resume: execute(COMMANDS.resume),
    retry: execute(COMMANDS.retry),
  };
  keepBadges(runs, pressed, () => settings.get("badge"));
  watchForDeath(runs, (run, say) => extension.again(runs.address(run), say), () => settings.get("banner"));
}

function surroundings(extension: Extension, runs: NotebookRuns) {
  const { panel } = runs;
  return {
    rendermime: panel.content.rendermime,
    deeds: extension,
    feed: (store: string, name: string) => extension.feeds.of({ store, name, notebook: runs.path() }),
    visible: () => panel.isVisible,
    heal: (model: IMimeModel, data: Readonly<Record<string, unknown>>) => {
      for (const { model: cell } of panel.content.widgets) replaceOutput(cell, model, data);
    },
  };
}

/** As `update_display` does it: what is set in the list of outputs is saved, what is set in the output alone is not. */
function replaceOutput({ outputs }: ICellModel, model: IMimeModel, data: Readonly<Record<string, unknown>>): void {
  for (let index = 0; index < (outputs?.length ?? 0); index++) {
    const output = outputs!.get(index);
    if (output === model) outputs!.set(index, { ...output.toJSON(), data });
  }
}

export default plugin;
