/** Running a durable cell again, so that it is certain afterwards whether it did. */

import { Dialog, type ISessionContext, showDialog } from "@jupyterlab/apputils";
import type { Cell } from "@jupyterlab/cells";
import { NotebookActions } from "@jupyterlab/notebook";

import { type Address, type Api, ApiError } from "./api";
import type { NotebookRuns } from "./notebook";
import { delay } from "./rhythm";

const READY_MS = 60_000;
const MOST_STARTS = 3;
const BEGIN_MS = 15_000;
const LOOK_MS = 200;

/** Tells how far it is; each text replaces the one before. */
export type Say = (text: string) => void;

/**
 * Run the cell of a run, and the cells above it if the kernel that is there now has not run it yet.
 *
 * Resolves when the database has a new attempt; the cell may still be running. Rejects with a sentence.
 */
export async function runAgain(api: Api, runs: NotebookRuns, address: Address, say: Say = () => undefined, above: boolean): Promise<void> {
  const { panel } = runs;
  const find = () => {
    const found = runs.cellOf(address);
    if (!found) throw new Error(`This notebook has no cell that is marked %%durable ${address.name}.`);
    return found;
  };
  if (!(await trusted(find().cell))) return;
  const before = await attempts(api, address);
  for (const last of [false, true]) {
    say("Waiting for the kernel…");
    await ready(api, panel.sessionContext);
    if (above && find().index > 0) {
      say("Running the cells above…");
      select(runs, find().index);
      if (!(await NotebookActions.runAllAbove(panel.content, panel.sessionContext))) {
        throw new Error("A cell above stopped with an error. Mend it, then resume.");
      }
    }
    say("Running the cell…");
    select(runs, find().index);
    const { cell } = find();
    const ended = NotebookActions.run(panel.content, panel.sessionContext).catch(() => false);
    if (await begun(api, address, before, ended, panel.sessionContext)) return;
    if (shows(cell, "error")) throw new Error("The cell stopped before the run began: its output says why.");
    // Lab may connect to a new kernel twice; what was sent in between is lost without a word. So once more.
    if (last) throw new Error("The cell was run twice, and no new attempt has begun. Run it by hand, and see what it says.");
  }
}

/** Connected and idle; a kernel is started where there is none any more. */
async function ready(api: Api, session: ISessionContext): Promise<void> {
  const end = Date.now() + READY_MS;
  await session.ready;
  let name = session.kernelPreference.name;
  for (let starts = 0; Date.now() < end; await delay(LOOK_MS)) {
    const kernel = session.session?.kernel;
    name = kernel?.name ?? name;
    if (kernel?.connectionStatus === "connected" && kernel.status === "idle") return;
    if (starts === MOST_STARTS || (kernel?.connectionStatus === "connected" && kernel.status !== "dead")) continue;
    // While Lab still tries to connect to a kernel that died with its server, only the server can say so.
    if (kernel && (await api.hasKernel(kernel.id).catch(() => true))) continue;
    starts += 1;
    // The first time fails where the session died too: Lab learns of it by that, and the next time makes another.
    await session.changeKernel(name ? { name } : {}).catch(() => null);
  }
  throw new Error("The kernel is busy or not connected. Resume when it is idle.");
}

/** Whether a new attempt is in the database; false when the cell ended, or nothing runs, without one. */
async function begun(
  api: Api,
  address: Address,
  before: number,
  ended: Promise<boolean>,
  session: ISessionContext,
): Promise<boolean> {
  let over = false;
  void ended.then(() => (over = true));
  const start = Date.now();
  for (;;) {
    const last = over; // looked at once more after the end: a short run may be over before the first look
    if ((await attempts(api, address)) > before) return true;
    if (last) return false;
    const idle = session.session?.kernel?.status === "idle";
    if (idle && Date.now() - start > BEGIN_MS) return false;
    await delay(LOOK_MS);
  }
}

async function attempts(api: Api, address: Address): Promise<number> {
  try {
    return (await api.run(address)).snapshot.attempts;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return 0; // never kept yet, or forgotten
    throw error;
  }
}

/** Running a cell runs the notebook's code: in one that came from elsewhere that is asked about. */
async function trusted(cell: Cell): Promise<boolean> {
  if (cell.model.trusted) return true;
  const { button } = await showDialog({
    title: "Run the code of this notebook?",
    body: "The notebook is not trusted: it may come from somebody else. Going on with the run executes its cells.",
    buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: "Run" })],
  });
  return button.accept;
}

function select(runs: NotebookRuns, index: number): void {
  const { content } = runs.panel;
  content.deselectAll();
  content.activeCellIndex = index;
}

function shows(cell: Cell, type: string): boolean {
  const outputs = cell.model.outputs;
  for (let index = 0; index < (outputs?.length ?? 0); index++) {
    if (outputs!.get(index).toJSON().output_type === type) return true;
  }
  return false;
}
