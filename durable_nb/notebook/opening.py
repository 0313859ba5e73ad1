"""How the run of a durable cell begins: in front, in the background, or left to a process of its own."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from durable_nb.credentials import known_in
from durable_nb.engine import runs
from durable_nb.errors import ConfigError
from durable_nb.notebook import clashes, detaching, keeping
from durable_nb.notebook.names import names_in
from durable_nb.notebook.preflight import steps_named_in

if TYPE_CHECKING:
    import ast

    from durable_nb.engine.runs import LiveRun
    from durable_nb.notebook.magics import DurableMagics
    from durable_nb.notebook.replay import Replay


def opened(magics: DurableMagics, arguments: Any, replay: Replay | None, *, apart: bool = False) -> LiveRun:
    """The run of the cell that is being executed, claimed and shown; what a fresh kernel needs for it is saved.

    Raises
    ------
    CodeChanged
        Before anything is computed.
    RunBusy
    """
    shell: Any = magics.shell
    name, names, cell = arguments.name, shell.user_ns, magics.cell
    steps = steps_named_in(cell.source, names)
    if replay is not None:
        steps = [*filter(replay.preflight.is_settled, steps), *replay.preflight.begin()]
    on_change, url = arguments.on_change or magics.answers.pop(name, None), arguments.db or magics.urls.get(name)
    source = known_in(names).redacted(cell.source)
    begin = runs.claimed if arguments.detach else runs.begin
    given = {"on_change": on_change, "url": url, "fork": arguments.fork, "apart": apart}
    live = begin(name, source=source, steps=steps, **given)
    magics.background.forget(name)
    magics.attempts[name] = 0 if arguments.detach else live.record.attempts
    try:
        keeping.capture(live, shell, cell, magics.makers())
    except BaseException as error:  # ■: the run has an owner already
        live.finish(error)
        raise
    return live


def go_apart(magics: DurableMagics, arguments: Any, number: int, rest: ast.Module | None) -> None:
    """The rest of the cell runs in the background; what can be told of it is told before the prompt is back.

    Raises
    ------
    ConfigError
        It cannot run there; and what `opened` raises.
    """
    plan = magics.cells.plans.get(number)
    if rest is None or plan is None:
        raise ConfigError("this cell cannot run in the background.", "Write --background or --detach in full.")
    if arguments.replay_output:
        raise ConfigError(
            "--replay-output shows what restored calls had printed, which is kept of cells that run in front.",
            "Leave it out here, or leave out --background and --detach.",
        )
    shell: Any = magics.shell
    if not arguments.detach:
        clashes.refuse_what_clashes(rest, plan, shell.user_ns, names_in(arguments.steps))
    scope = dict(shell.user_ns)
    replay = magics.planned(number, arguments, scope)
    assert replay is not None, "there is a plan"
    claim = functools.partial(opened, magics, arguments, replay, apart=True)
    if arguments.detach:
        detaching.detach(claim, make=arguments.make)
    else:
        magics.background.start(magics.cell.source, rest, scope, number, replay, claim)
