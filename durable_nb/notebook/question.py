"""Two buttons below a cell that was not run because what it calls was edited: keep its results, or compute them again."""

from __future__ import annotations

import html
import sys
from typing import TYPE_CHECKING, Any

from durable_nb.signals import put_off

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_nb.errors import CodeChanged

_ANSWERED = {
    "keep": "Kept: run the cell again. Finished calls keep their results, the others use the new code.",
    "recompute": "Run the cell again: every call is computed with the new code. The old results stay in the database.",
}


@put_off()
def ask(error: CodeChanged, answer: Callable[[str], None]) -> None:
    """Show the buttons; ``answer`` gets 'keep' or 'recompute'. Without a front end the error alone says what to type."""
    ipykernel = sys.modules.get("ipykernel")
    if ipykernel is None:
        return
    try:
        import ipywidgets
        from IPython.display import display
    except ImportError:
        return
    keep = ipywidgets.Button(description=f"Keep {error.saved:,} results", layout={"width": "auto"})
    recompute = ipywidgets.Button(description="Compute again", layout={"width": "auto"})
    said = ipywidgets.HTML(_question(error))
    box = ipywidgets.VBox([said, ipywidgets.HBox([keep, recompute])])

    def answered(choice: str) -> Callable[[Any], None]:
        def clicked(_: Any) -> None:
            answer(choice)
            said.value = html.escape(_ANSWERED[choice])
            box.children = [said]

        return clicked

    keep.on_click(answered("keep"))
    recompute.on_click(answered("recompute"))
    display(box)  # type: ignore[no-untyped-call]


def _question(error: CodeChanged) -> str:
    steps = html.escape(", ".join([error.step, *(other.partition(" (")[0] for other in error.also)]))
    return f"<b>{steps}</b> was edited since {error.saved:,} of its results were saved. Nothing was run."
