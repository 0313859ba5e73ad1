"""Notebook cells that survive: kill the kernel, run the cell again, only the rest runs.

::

    %load_ext durable_nb                     once per kernel

    %%durable embed-filings                  on a cell that calls steps

    @step(retries=3, timeout=60)             a function whose results are kept
    def embed(text): ...

    vectors = embed.map(docs, workers=8)     each document its own checkpoint
    vectors = await embed.amap(docs)

    with run("name"): ...                    a run around plain calls of steps
    @workflow                                the same around a function
    configure(url=…, on_change=…)            where results live, what an edited step means

The rooms, in the order a document walks through them: ``engine.steps`` makes a call, ``keys`` and ``sources`` name it,
``store.reader`` looks it up, ``executors`` run what is missing, ``engine.batch`` checkpoints it, ``codecs`` turn it into
bytes, ``store.writer`` commits it, ``progress`` counts it, ``notebook`` shows it. Importing this package loads neither
SQLAlchemy nor ipywidgets.
"""

from typing import TYPE_CHECKING, Any

from durable_nb.errors import CodeChanged, DurableError, RunBusy, StepFailed

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from durable_nb.engine.context import current_call
    from durable_nb.engine.decorator import step
    from durable_nb.engine.runs import LiveRun
    from durable_nb.engine.session import configure
    from durable_nb.engine.workflows import run, workflow

__all__ = [
    "CodeChanged",
    "DurableError",
    "RunBusy",
    "StepFailed",
    "configure",
    "current_call",
    "run",
    "step",
    "workflow",
]


def load_ipython_extension(shell: "InteractiveShell") -> None:
    """What ``%load_ext durable_nb`` calls: adds the magics. Nothing of the user's is run and no database is opened."""
    from durable_nb import notebook

    notebook.load(shell)


def unload_ipython_extension(shell: "InteractiveShell") -> None:
    """What ``%unload_ext durable_nb`` calls: the shell is as it was before."""
    from durable_nb import notebook

    notebook.unload(shell)


# Loaded when first asked for: a kernel that only loads the extension, or a worker that only unpickles a result, does not
# pay the 25 ms of the engine.
_ROOMS = {
    "configure": "engine.session",
    "current_call": "engine.context",
    "step": "engine.decorator",
    "run": "engine.workflows",
    "workflow": "engine.workflows",
}


def _watch_script() -> None:
    """A script in a terminal shows its runs in a line on stderr; in IPython ``%load_ext`` decides, and a log stays clean."""
    import sys

    from durable_nb.engine.session import current

    in_terminal = "IPython" not in sys.modules and sys.stderr is not None and sys.stderr.isatty()
    if in_terminal and _show not in current.observers:
        current.observers.append(_show)


def _show(live: "LiveRun") -> None:
    from durable_nb.notebook import panels

    panels.show(live)


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        from importlib import import_module

        _follow_notebook()
        value = globals()[name] = getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
        _watch_script()
        return value
    if name == "__version__":
        from importlib.metadata import version

        return version("durable-nb")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _follow_notebook() -> None:
    """In a notebook, with or without ``%load_ext``, a model or client is known by the statements that made it."""
    import sys

    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is not None:
        from durable_nb import notebook

        notebook.follow(shell)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
