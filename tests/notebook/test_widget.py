"""The live panel as the kernel sees it: what is displayed, how often, and that nothing of it can hurt a run."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import RichOutput, capture_output

from durable_nb import clock
from durable_nb.notebook import display, widget
from durable_nb.records import Failure, Snapshot, State

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDGET = "application/vnd.jupyter.widget-view+json"
FAILURE = Failure(1, "b.txt", "ValueError: no", 2)


def snapshot(done: int = 40, **changes: Any) -> Snapshot:
    running = Snapshot("embed", State.RUNNING, 100, 0, done, 0, 1, 10.0, 6.0, 4.0, 0.0, 0.1)
    return running._replace(**changes)


class Recorder:
    """A view that remembers what it was shown and when."""

    def __init__(self) -> None:
        self.updates: list[Snapshot] = []
        self.times: list[float] = []
        self.last: Snapshot | None = None
        self.enough = threading.Event()

    def show(self) -> None:
        pass

    def update(self, snapshot: Snapshot) -> None:
        self.updates.append(snapshot)
        self.times.append(clock.monotonic())
        if len(self.updates) == 3:
            self.enough.set()

    def finish(self, snapshot: Snapshot) -> None:
        self.last = snapshot


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    """An IPython shell, which display() needs; removed again."""
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock in a list of one number, which only the test moves."""
    hands = [1_000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: hands[0])
    return hands


def displayed(outputs: list[RichOutput]) -> list[dict[str, Any]]:
    """The outputs of a cell after all updates, in the order of their first appearance."""
    cell: dict[str, dict[str, Any]] = {}
    for output in outputs:
        cell[output.transient["display_id"]] = output.data
    return list(cell.values())


def test_a_live_panel_is_a_picture_and_a_view(shell: InteractiveShell) -> None:
    """Two outputs: the picture with text and HTML, then the widget with nothing to read in its place."""
    with capture_output() as cell:
        widget.Panel(snapshot()).show()
    picture, view = displayed(cell.outputs)

    assert {"text/html", "text/plain"} == set(picture)
    assert display.text(snapshot()) == picture["text/plain"]
    assert {WIDGET, "text/plain"} == set(view)
    assert "" == view["text/plain"]


def test_finished_output_holds_no_widget(shell: InteractiveShell) -> None:
    """What is saved after the end is the final picture; a re-opened notebook has no dead view to complain about."""
    panel, done = widget.Panel(snapshot()), snapshot(100, state=State.DONE)
    with capture_output() as cell:
        panel.show()
        panel.finish(done)
    picture, view = displayed(cell.outputs)

    assert display.html(done) == picture["text/html"]
    assert WIDGET not in view


@pytest.mark.parametrize("with_retry", [True, False])
def test_view_stays_only_while_something_can_be_retried(shell: InteractiveShell, *, with_retry: bool) -> None:
    """After failures the Retry button stays, beside a picture that can be read without it."""
    retry = (lambda: None) if with_retry else None
    panel = widget.Panel(snapshot(), on_retry=retry)
    failed = snapshot(99, state=State.FAILED, failed=1, failures=(FAILURE,))
    with capture_output() as cell:
        panel.show()
        panel.finish(failed)
    picture, view = displayed(cell.outputs)

    assert display.html(failed) in picture["text/html"]
    assert with_retry is (WIDGET in view)


def test_a_run_over_before_it_was_shown_is_one_picture(shell: InteractiveShell) -> None:
    """A batch that is restored in a moment makes no widget at all."""
    with capture_output() as cell:
        widget.Panel(snapshot()).finish(snapshot(100, state=State.DONE))

    assert [{"text/html", "text/plain"}] == [set(bundle) for bundle in displayed(cell.outputs)]


def test_a_flood_of_updates_becomes_few_messages(shell: InteractiveShell, time: list[float]) -> None:
    """1,000 updates a second for 2 s are at most 14 messages, and the last figures always arrive."""
    panel = widget.Panel(snapshot(0))
    sent: list[dict[str, Any]] = []
    with capture_output():
        panel.show()
        panel._page.observe(lambda change: sent.append(change["new"]), "figures")
        for n in range(2_000):
            time[0] += 0.001
            panel.update(snapshot(n % 100))
        panel.finish(snapshot(100, state=State.DONE))

    assert 5 <= len(sent) <= 15
    assert ("done", 100) == (sent[-1]["state"], sent[-1]["durable"])


def test_nothing_is_sent_while_nothing_happens_but_a_heartbeat(shell: InteractiveShell, time: list[float]) -> None:
    """A long call costs a message every 2 s: enough to be believed."""
    panel = widget.Panel(snapshot())
    beats: list[float] = []
    with capture_output():
        panel.show()
        panel._page.observe(lambda _change: beats.append(time[0]), "sent_at")
        for tick in range(51):
            time[0] += 0.2
            panel.update(snapshot(elapsed_s=4.0 + tick / 5, rate=10.0 - tick / 10))

    assert 5 <= len(beats) <= 6
    assert all(2.0 <= later - sooner <= 2.4 for sooner, later in pairwise(beats))


def test_picture_is_refreshed_every_five_seconds(shell: InteractiveShell, time: list[float]) -> None:
    """The saved notebook is at most 5 s behind, and the costly refresh is not done more often."""
    panel = widget.Panel(snapshot(0))
    with capture_output() as cell:
        panel.show()
        for n in range(100):
            time[0] += 0.2
            panel.update(snapshot(n))
    pictures = [output for output in cell.outputs if "text/html" in output.data]

    assert 4 <= len(pictures) <= 5


@pytest.mark.parametrize("button", ["stop", "retry"])
def test_a_click_calls_back_and_is_acknowledged(shell: InteractiveShell, button: str) -> None:
    """A button does one thing; the page is told that it was heard."""
    pressed: list[str] = []
    panel = widget.Panel(snapshot(), on_stop=lambda: pressed.append("stop"), on_retry=lambda: pressed.append("retry"))
    answers: list[object] = []
    with capture_output():
        panel.show()
        panel._page.send = answers.append
        panel._page._handle_custom_msg({"action": button}, [])
        panel._page._handle_custom_msg({"action": "rm -rf"}, [])

    assert [button] == pressed
    assert [{"ack": button}] == answers


def test_only_buttons_that_do_something_are_offered(shell: InteractiveShell) -> None:
    """Without a callback there is no button."""
    with capture_output():
        panel = widget.Panel(snapshot(), on_stop=lambda: None)
        panel.show()

    assert ["stop"] == panel._page.actions


def test_without_anywidget_the_picture_does_the_work(
    shell: InteractiveShell, time: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where anywidget is not installed the panel is one picture that is redrawn."""
    monkeypatch.setitem(sys.modules, "anywidget", None)
    widget._page_class.cache_clear()
    panel, done = widget.Panel(snapshot()), snapshot(100, state=State.DONE)
    with capture_output() as cell:
        panel.show()
        time[0] += 6
        panel.update(snapshot(60))
        panel.finish(done)

    assert 3 == len(cell.outputs)
    assert [display.html(done)] == [bundle["text/html"] for bundle in displayed(cell.outputs)]


def test_publisher_ticks_at_most_five_times_a_second_and_shows_the_end() -> None:
    """The thread is a daemon called durable-panel, ends with stop(), and the last snapshot is always shown."""
    view = Recorder()
    publisher = widget.Publisher(view, snapshot)
    publisher.start()
    thread = next(thread for thread in threading.enumerate() if thread.name == "durable-panel")
    view.enough.wait(10)
    publisher.stop()

    assert thread.daemon and not thread.is_alive()
    assert 0.19 <= min(later - sooner for sooner, later in pairwise(view.times))
    assert snapshot() == view.last


def test_a_view_that_breaks_never_breaks_the_run(caplog: pytest.LogCaptureFixture) -> None:
    """An error of the front end is recorded and logged, not raised; the end is still attempted."""
    broken = threading.Event()

    class Broken(Recorder):
        def update(self, snapshot: Snapshot) -> None:
            broken.set()
            raise ConnectionError("socket closed")

    view = Broken()
    publisher = widget.Publisher(view, snapshot)
    publisher.start()
    broken.wait(10)
    publisher.stop()

    assert isinstance(publisher.error, ConnectionError)
    assert 1 == len(caplog.records)
    assert snapshot() == view.last


def test_outside_a_kernel_the_view_is_a_line_on_stderr() -> None:
    """A script and a terminal get a TerminalReporter, never display objects."""
    view = widget.presenter(snapshot(), on_stop=lambda: None)

    assert isinstance(view, display.TerminalReporter)


def test_importing_the_panel_loads_no_widget_library() -> None:
    """`import durable_nb` stays cheap: anywidget, ipywidgets and IPython are imported when a panel is shown."""
    code = (
        "import json, sys, durable_nb.notebook.widget as w; w.Panel(None);"
        "print(json.dumps([m for m in ('anywidget', 'ipywidgets', 'traitlets') if m in sys.modules]))"
    )
    heavy = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert [] == json.loads(heavy)
