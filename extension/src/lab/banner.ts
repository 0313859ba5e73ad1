/** Above the notebook after its kernel has died: what is safe, and Resume. */

import { Widget } from "@lumino/widgets";

import { make, setText } from "../panel/dom";
import { button } from "./button";
import { figures } from "./marks";
import type { Located, NotebookRuns } from "./notebook";
import type { Say } from "./resume";

type Cause = "The kernel died." | "The kernel was restarted." | "The server was gone.";

/** An attempt that was cut off; its row once the run is known to be interrupted. */
interface Cut {
  readonly cause: Cause;
  readonly attempts: number;
  row: Row | null;
}

const CALM_MS = 2_000; // Restart and Run All brings the run back by itself; the old kernel is idle for 1 s before it goes

/** Watches a notebook until it is closed. `enabled` is asked each time. */
export function watchForDeath(
  runs: NotebookRuns,
  resume: (run: Located, say: Say) => Promise<boolean>,
  enabled: () => boolean,
): void {
  const { panel } = runs;
  const session = panel.sessionContext;
  const cuts = new Map<string, Cut>();
  const live = new Set<string>(); // seen running, and not yet seen ended
  let death: { readonly cause: Cause; readonly at: number } | null = null; // that no list of runs has followed yet
  let idleAt = Infinity;

  const drop = (key: string) => {
    cuts.get(key)?.row?.dispose();
    cuts.delete(key);
  };
  const isTime = ({ cause }: Cut) => cause !== "The kernel was restarted." || Date.now() - idleAt >= CALM_MS;
  const show = (key: string, cut: Cut, run: Located) => {
    const kept = figures(run).replace(" / ", " of ");
    const text = `${cut.cause} ${kept} results of “${run.name}” are safe. ${whatResumeRuns(runs, run)}`;
    cut.row = new Row(text, (say) => resume(run, say), () => drop(key));
    panel.contentHeader.addWidget(cut.row);
  };
  const update = () => {
    const found = new Map<string, Located>();
    for (const { run } of runs.cells()) if (run) found.set(`${run.store} ${run.name}`, run);
    const connected = session.session?.kernel?.connectionStatus === "connected";
    for (const [key, run] of found) {
      const wasLive = live.delete(key);
      if (run.state === "running") live.add(key);
      else if (run.state !== "interrupted") continue;
      // Whoever pressed ■ has a kernel, and knows; who lost it with the server does not.
      const cause = death?.cause ?? (wasLive && run.state === "interrupted" && !connected ? "The server was gone." : null);
      if (cause && !cuts.has(key)) cuts.set(key, { cause, attempts: run.attempts, row: null });
    }
    if (death && runs.asked > death.at) death = null; // a list from before it may not have the run yet
    for (const [key, cut] of cuts) {
      const run = found.get(key);
      if (!run) continue; // a list that could not be read says nothing
      // Back by whatever way, resumed here or by hand.
      if (run.attempts !== cut.attempts || run.state === "done") drop(key);
      // A lease on another host runs out later than its kernel dies: until then the run counts as running.
      else if (run.state === "interrupted" && !cut.row && enabled() && isTime(cut)) show(key, cut, run);
    }
  };
  session.statusChanged.connect((_session, status) => {
    idleAt = status === "idle" ? Date.now() : Infinity;
    if (status === "idle" && cuts.size > 0) setTimeout(() => runs.refresh(), CALM_MS);
    const at = Date.now();
    if (status === "autorestarting" || status === "dead") death = { cause: "The kernel died.", at };
    else if (status === "restarting") death ??= { cause: "The kernel was restarted.", at };
    else return;
    runs.refresh();
  });
  runs.listen(update);
}

/** Whoever presses Resume has the cells above run too, which may take long or cost something: so it is said before. */
function whatResumeRuns(runs: NotebookRuns, run: Located): string {
  const index = runs.cellOf(runs.address(run))?.index ?? 0;
  const above = runs.panel.content.widgets.slice(0, index).filter(({ model }) => model.type === "code").length;
  if (above === 0) return "Resume runs the cell again.";
  return `Resume runs ${above === 1 ? "the cell" : `the ${above} cells`} above it, then the cell again.`;
}

class Row extends Widget {
  constructor(text: string, resume: (say: Say) => Promise<boolean>, dismiss: () => void) {
    super();
    this.addClass("dnb-banner");
    const words = make("span", "dnb-banner-text");
    const say: Say = (news) => setText(words, news);
    const go = button("Resume", () => void press(), "dnb-primary");
    const press = async () => {
      go.disabled = true;
      try {
        if (await resume(say)) return dismiss();
        say(text);
      } catch (error) {
        say(error instanceof Error ? error.message : String(error));
      }
      go.disabled = false;
    };
    const mark = make("span", "dnb-banner-mark");
    mark.setAttribute("aria-hidden", "true");
    const line = make("div", "dnb-banner-line");
    line.append(mark, words, go, button("Dismiss", dismiss));
    this.node.append(line);
    this.node.setAttribute("role", "alert");
    say(text);
    // The header gives a widget its least height and no more: so that is what the text needs, however it wraps.
    const sized = new ResizeObserver(() => {
      this.node.style.minHeight = `${line.offsetHeight}px`;
      this.parent?.fit();
    });
    sized.observe(line);
    this.disposed.connect(() => sized.disconnect());
  }
}
