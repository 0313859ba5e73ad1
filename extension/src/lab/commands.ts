/** Commands of the palette; sidebar and badge use the same, with arguments. */

import type { ICommandPalette } from "@jupyterlab/apputils";
import { Dialog, showDialog } from "@jupyterlab/apputils";
import type { Arguments } from "@lumino/commands";

import type { Address } from "./api";
import type { Extension } from "./extension";
import { remedy } from "./marks";
import type { Located } from "./notebook";

export const COMMANDS = {
  sidebar: "durable-nb:show-sidebar",
  open: "durable-nb:open-notebook",
  show: "durable-nb:show-run",
  resume: "durable-nb:resume-run",
  retry: "durable-nb:retry-run",
  forget: "durable-nb:forget-run",
} as const;

/** The run that a command is about: the one named, else that of the active cell, else the only one of the notebook. */
function target(extension: Extension, { store, name, notebook }: Arguments): Address | null {
  if (typeof store === "string" && typeof name === "string") return { store, name, notebook: String(notebook ?? "") };
  const run = currentRun(extension);
  return run && extension.current!.address(run);
}

function currentRun({ current }: Extension): Located | null {
  const cells = current?.cells().filter(({ run }) => run !== null) ?? [];
  const active = cells.find(({ cell }) => cell === current!.panel.content.activeCell);
  return (active ?? (cells.length === 1 ? cells[0] : undefined))?.run ?? null;
}

export function addCommands(extension: Extension, palette: ICommandPalette | null, panes: { sidebar: boolean; main: boolean }): void {
  const { commands, shell } = extension.app;
  const add = (id: string, label: string, act: (address: Address) => unknown, fits: (run: Located) => boolean) => {
    commands.addCommand(id, {
      label,
      isEnabled: (args) => {
        if (typeof args.name === "string") return true;
        const run = currentRun(extension);
        return run !== null && fits(run);
      },
      execute: async (args) => {
        const address = target(extension, args);
        try {
          if (address) await act(address);
        } catch (error) {
          await sorry(label, error);
        }
      },
    });
    palette?.addItem({ command: id, category: "Durable Runs" });
  };
  const ended = (run: Located) => run.state !== "running";
  add(COMMANDS.resume, "Resume Durable Run", (address) => extension.again(address), (run) => remedy(run) !== null);
  add(COMMANDS.retry, "Run Durable Cell Again", (address) => extension.again(address), ended);
  add(COMMANDS.forget, "Forget Durable Run…", (address) => extension.drop(address), ended);
  add(COMMANDS.open, "Open Notebook of Durable Run", (address) => extension.notebookOf(address), () => true);
  if (panes.main) add(COMMANDS.show, "Show Durable Run", (address) => extension.show(address), () => true);
  if (!panes.sidebar) return;
  commands.addCommand(COMMANDS.sidebar, {
    label: "Show Durable Runs",
    execute: () => shell.activateById("durable-nb-runs"),
  });
  palette?.addItem({ command: COMMANDS.sidebar, category: "Durable Runs" });
}

async function sorry(title: string, error: unknown): Promise<void> {
  const body = error instanceof Error ? error.message : String(error);
  await showDialog({ title, body, buttons: [Dialog.okButton()] });
}
