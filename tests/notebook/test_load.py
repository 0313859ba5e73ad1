"""%load_ext, %unload_ext and import: what they change, and that they change nothing else."""

from __future__ import annotations

import ast
import itertools
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.kernels import ROOT
from tests.notebook.cells import STEPS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernels import Kernel
    from tests.notebook.cells import Start

# Everything of a shell that an extension could leave something in, as text that is equal for the same objects.
SHELL = """
import builtins, re, signal, sys, threading
from durable_nb import loads, provenance
from durable_nb.engine.session import current as session

def lasting(names):  # without the history of inputs and outputs
    return sorted(name for name in names if not re.match(r"_+(i|ii|iii|h|oh|dh|exit_code|\\d+|i\\d+)?$", name))

def shell():
    ip = get_ipython()
    formatters = ip.display_formatter.formatters.values()
    return {
        "magics": {kind: sorted(magics) for kind, magics in ip.magics_manager.magics.items()},  # IPython loads its own late
        "registry": sorted(ip.magics_manager.registry),
        "configurables": [id(one) for one in ip.configurables],
        "events": {event: [str(call) for call in calls] for event, calls in ip.events.callbacks.items()},
        "transformers": [str(ip.input_transformers_cleanup), str(ip.input_transformers_post), str(ip.ast_transformers)],
        "line transformers": str(ip.input_transformer_manager.line_transforms),
        "formatters": [[type(one).__name__, one.enabled, str(one.type_printers), str(one.deferred_printers)]
                       for one in formatters],
        "builtins": sorted(vars(builtins)),
        "names": lasting(ip.user_ns),
        "hidden names": lasting(ip.user_ns_hidden),
        "finders": [str(provenance.statement_finders), str(loads.updates)],
        "session": [len(session.observers), len(session.live), session.notebook, session.kernel, session.given],
        "signal": str(signal.getsignal(signal.SIGINT)),
        "hooks": [str(sys.excepthook), str(sys.displayhook), str(sys.meta_path), str(ip.CustomTB), str(ip.custom_exceptions)],
        "extensions": sorted(ip.extension_manager.loaded),
        "threads": sorted(one.name for one in threading.enumerate() if one.name.startswith("durable-")),
    }
"""
HEAVY = ("sqlalchemy", "ipywidgets", "anywidget", "jupyter_server", "numpy", "pandas", "cloudpickle")


def loaded(one: Kernel) -> list[str]:
    """Which of the heavy packages the kernel has imported."""
    return ast.literal_eval(one.ok(f"[name for name in {HEAVY} if name in __import__('sys').modules]").result)


@pytest.mark.parametrize(
    "meanwhile",
    [
        "",
        "%load_ext durable_nb",
        "%reload_ext durable_nb",
        "%%durable used\nembed('used')",
        "%%durable used\nembed('used')\n1 / 0",
        "%durable",
    ],
    ids=["only loaded", "loaded twice", "reloaded", "used", "failed", "listed"],
)
def test_unload_leaves_the_shell_as_it_was(kernel: Start, meanwhile: str) -> None:
    """%unload_ext undoes exactly what %load_ext did, whatever happened between the two."""
    one = kernel()
    one.ok("import asyncio, time\nfrom durable_nb import step\n" + STEPS)
    one.ok(SHELL)
    one.ok("%unload_ext autoreload")  # IPython loads its magics for extensions now
    one.ok("before = after = None\nbefore = shell()")
    one.ok("%load_ext durable_nb")
    changed = one.ok("sorted(name for name, value in shell().items() if value != before[name])").result
    if meanwhile:
        one.run(meanwhile)
    one.ok("%unload_ext durable_nb")
    left = one.ok(
        "after = shell()\n[(name, before[name], after[name]) for name in before if before[name] != after[name]]"
    )

    assert "transformers" in changed
    assert "magics" in changed
    assert "[]" == left.result


def test_unload_within_a_durable_cell_ends_its_run(kernel: Start) -> None:
    """%unload_ext inside a durable cell ends the run; the cell goes on as a plain one."""
    one = kernel()
    one.ok("%load_ext durable_nb\nimport asyncio, time\nfrom durable_nb import step\n" + STEPS)
    reply = one.ok("%%durable leaving\nembed('a')\n%unload_ext durable_nb\nembed('b')")

    assert "'B'" == reply.result
    assert "[]" == one.ok("from durable_nb.engine.session import current\ncurrent.live").result
    assert "UsageError" in one.run("%durable").text


def test_load_twice_and_reload(kernel: Start) -> None:
    """Loading again adds nothing a second time; after %reload_ext durable cells work, and what was kept is restored."""
    one = kernel()
    one.ok("%load_ext durable_nb\nimport asyncio, time\nfrom durable_nb import step\n" + STEPS)
    one.ok("%%durable twice\nembed('a')")
    said = one.ok("%load_ext durable_nb").stdout
    one.ok("%reload_ext durable_nb")
    hooks = one.ok(
        "[sum('durable' in str(one).lower() for one in each) for each in (get_ipython().input_transformers_cleanup,"
        " get_ipython().events.callbacks['pre_run_cell'], get_ipython().events.callbacks['post_run_cell'])]"
    ).result
    again = one.ok("%%durable twice\nembed('a')").result

    assert "already loaded" in said
    assert "[1, 1, 2]" == hooks
    assert "'A'" == again
    assert "1 restored, 0 computed" in one.ok("%durable show twice").result


def test_a_module_is_known_as_it_was_loaded(kernel: Start, tmp_path: Path) -> None:
    """Its data was edited, and it was not loaded anew: neither this kernel nor its workers compute with the one for the other."""
    module, cell = tmp_path / "helpers.py", "%%durable loaded\nlist(embed.map([1, 2], executor='processes'))"
    module.write_text("def of(by):\n    return {'by': by}\nBY = of(2)\ndef clean(n):\n    return n * BY['by']\n")
    one = kernel()
    one.ok("%load_ext durable_nb\nfrom durable_nb import step\nimport helpers")
    one.ok("@step\ndef embed(n):\n    return helpers.clean(n)")
    module.write_text(module.read_text().replace("of(2)", "of(1000)"))
    refused = one.run(cell)
    one.ok("import importlib\nimportlib.reload(helpers)")

    assert "helpers.BY is another one in a worker" in refused.text
    assert "reload it here (importlib.reload(helpers))" in refused.text
    assert "[1000, 2000]" == one.ok(cell).result


def test_what_autoreload_updates_in_place_is_computed_by_workers(kernel: Start, tmp_path: Path) -> None:
    """Data, functions and decorators; IPython loads the module anew only where it has to."""
    module, cell = (
        tmp_path / "helpers.py",
        "%%durable updated --on-change recompute\nlist(embed.map([1], executor='processes'))",
    )
    text = "def plus(k):\n    return lambda f: lambda n: f(n) + k\nBY = dict(by=DATA)\n@plus(MORE)\ndef clean(n):\n    return n * BY['by'] + BODY\n"

    def write(data: int, more: int, body: int) -> str:
        module.write_text(text.replace("DATA", f"{data}").replace("MORE", f"{more}").replace("BODY", f"{body}"))
        os.utime(module, ns=(time.time_ns(), next(times)))
        return f"[{data + more + body}]"

    times = itertools.count(time.time_ns(), 10**9)
    one, expected = kernel(), write(1, 10, 100)
    one.ok("%load_ext durable_nb\n%load_ext autoreload\n%autoreload 2\nfrom durable_nb import step\nimport helpers")
    one.ok("@step\ndef embed(n):\n    return helpers.clean(n)")
    assert expected == one.ok(cell).result
    for edit in ((1, 10, 200), (2, 10, 200), (2, 30, 200), (4, 50, 600)):
        expected = write(*edit)
        assert expected == one.ok(cell).result, edit


def test_load_is_cheap_and_opens_nothing(kernel: Start) -> None:
    """%load_ext imports neither SQLAlchemy nor widgets and makes no folder; the first durable cell does."""
    one = kernel()
    one.ok("%load_ext durable_nb\nfrom durable_nb import step\n@step\ndef embed(doc): return doc")

    assert [] == loaded(one)
    assert not (one.folder / ".durable_nb").exists()
    one.ok("%%durable first\nembed('a')")

    assert {"sqlalchemy", "anywidget"} <= set(loaded(one))
    assert (one.folder / ".durable_nb" / "durable.db").exists()


def test_import_is_cheap() -> None:
    """``import durable_nb`` and defining a step import nothing heavy, and no IPython."""
    script = (
        "import sys, durable_nb\nfrom durable_nb import step\n@step\ndef embed(doc): return doc\nembed('a')\n"
        f"print([name for name in {(*HEAVY, 'IPython', 'asyncio', 'traitlets')} if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )

    assert "[]" == found.stdout.strip()


def test_a_step_without_load_ext_knows_how_its_client_was_made(kernel: Start) -> None:
    """A step of a notebook that never loads the extension asks when its client is made by another statement."""
    one = kernel()
    one.ok(
        "import threading\nclass Client:\n    def __init__(self, model):\n        self.model, self.lock = model, threading.Lock()"
    )
    one.ok("from durable_nb import step")
    one.ok("client = Client('A')")
    one.ok("@step\ndef ask(doc): return client.model + doc")
    one.ok("ask.map(['a', 'b'])")
    same = one.ok("client = Client( 'A' )\nprint(list(ask.map(['a', 'b'])))").stdout
    other = one.run("client = Client('B')\nask.map(['a', 'b'])")

    assert "['Aa', 'Ab']\n" == same
    assert other.error.startswith("CodeChanged")
