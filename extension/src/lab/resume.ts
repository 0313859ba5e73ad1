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
 * Run the cell of a run, and before it, unless the kernel that is there has run the cell already, all cells above it.
 *
 * True when the database has a new attempt, the cell perhaps still running; false when the user would not have the code
 * of a notebook run that is not trusted. Rejects with a sentence.
 */
export async function runAgain(api: Api, runs: NotebookRuns, address: Address, say: Say): Promise<boolean> {
  const { content, sessionContext } = runs.panel;
  const find = () => {
    const found = runs.cellOf(address);
    if (!found) throw new Error(`This notebook has no cell that is marked %%durable ${address.name}.`);
    return found;
  };
  const select = () => {
    content.deselectAll();
    content.activeCellIndex = find().index;
  };
  if (!(await trusted(find().cell))) return false;
  const before = await attempts(api, address);
  for (let tries = 0; tries < 2; tries++) {
    // Lab may connect to a new kernel twice; what was sent in between is lost without a word. So twice.
    say("Waiting for the kernel…");
    await ready(api, sessionContext);
    select();
    const above = tries > 0 || !runs.hasRun(find().cell); // asked of the kernel that is ready now, not of a dead one
    if (above && find().index > 0) {
      say("Running the cells above…");
      const good = await NotebookActions.runAllAbove(content, sessionContext).catch(() => false);
      if (!good && content.widgets.slice(0, find().index).some(showsError)) {
        throw new Error("A cell above stopped with an error. Mend it, then resume.");
      }
      if (!good) continue;
    }
    say("Running the cell…");
    select();
    const ended = NotebookActions.run(content, sessionContext).catch(() => false);
    if (await begun(api, address, before, ended, sessionContext)) return true;
    if (showsError(find().cell)) throw new Error("The cell stopped before the run began: its output says why.");
  }
  throw new Error("The cell was run twice, and no new attempt has begun. Run it by hand, and see what it says.");
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
    // A session that died with its server can have no other kernel: Lab would say so in a dialogue of its own.
    await session.shutdown().catch(() => undefined);
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

function showsError({ model: { outputs } }: Cell): boolean {
  for (let index = 0; index < (outputs?.length ?? 0); index++) {
    if (outputs!.get(index).toJSON().output_type === "error") return true;
  }
  return false;
}
