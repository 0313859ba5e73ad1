"""The live panel as the kernel sees it: what is displayed, how often, and that nothing of it can hurt a run."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import threading
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import RichOutput, capture_output

from durable_nb import clock, display, wire
from durable_nb.errors import ConfigError
from durable_nb.notebook import comm, terminal, widget
from durable_nb.records import COMPUTED, WAITING, Failure, Mosaic, Snapshot, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WIDGET = "application/vnd.jupyter.widget-view+json"
FAILURE = Failure(1, "b.txt", "ValueError: no", 2)


def snapshot(done: int = 40, **changes: Any) -> Snapshot:
    running = Snapshot("embed", State.RUNNING, 100, 0, done, 0, 1, 10.0, 6.0, 4.0, 0.0, 0.1, store="0123456789ab")
    return running._replace(**changes)


class Feed:
    """A run that a test moves by hand."""

    def __init__(self, first: Snapshot | None = None, **actions: Callable[[str], None]) -> None:
        self.now, self.states, self.version = first or snapshot(), bytearray(100), 1
        self.actions = actions
        self.history: list[str] = ["started"]

    def snapshot(self) -> Snapshot:
        return self.now

    def context(self) -> dict[str, Any]:
        return {"history": list(self.history), "versions": []}

    def mosaic(self) -> Mosaic:
        return Mosaic(self.version, bytes(self.states))

    def document(self, position: int) -> dict[str, Any] | None:
        return {"position": position, "label": "a.txt"} if position < 100 else None

    def compute(self, position: int) -> None:
        self.states[position] = COMPUTED
        self.version += 1


class Recorder:
    """A view that remembers what it was shown and when."""

    def __init__(self) -> None:
        self.updates: list[Snapshot] = []
        self.times: list[float] = []
        self.last: Snapshot | None = None
        self.enough = threading.Event()

    def show(self, feed: comm.Feed) -> None:
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


@pytest.fixture(params=["served", "alone"])
def served(request: pytest.FixtureRequest) -> bool:
    """With and without a server extension that reads the database."""
    return request.param == "served"


def displayed(outputs: list[RichOutput]) -> list[dict[str, Any]]:
    """The outputs of a cell after all updates, in the order of their first appearance."""
    cell: dict[str, dict[str, Any]] = {}
    for output in outputs:
        cell[output.transient["display_id"]] = output.data
    return list(cell.values())


class Wire:
    """What the page of a panel receives: custom messages and changed traits, in order."""

    def __init__(self, panel: widget.Panel) -> None:
        assert panel._page is not None
        self.custom: list[tuple[dict[str, Any], list[bytes]]] = []
        self.messages = 0
        self.model = panel._page._model
        self.model.send = self._send
        self.model.observe(self._changed, "sent_at")
        self.model.observe(self._changed, "context")

    def say(self, **content: Any) -> None:
        """What the page sends."""
        self.model._handle_custom_msg(content, [])

    def _send(self, content: dict[str, Any], buffers: Any = None) -> None:
        self.messages += 1
        self.custom.append((content, list(buffers or [])))

    def _changed(self, _change: object) -> None:
        self.messages += 1


def test_where_the_database_is_served_a_run_is_one_output(shell: InteractiveShell) -> None:
    """One bundle: our MIME type, the live view, the picture and the text; our type names store and run, and no path."""
    with capture_output() as cell:
        widget.Panel(served=True).show(Feed())
    (bundle,) = displayed(cell.outputs)

    assert {wire.MIME, WIDGET, "text/html", "text/plain"} == set(bundle)
    assert (1, "0123456789ab", "embed") == tuple(bundle[wire.MIME][name] for name in ("schema", "store", "name"))
    assert 40 == bundle[wire.MIME]["snapshot"]["durable"]
    assert bundle["text/html"].startswith("<div")


def test_what_is_saved_tells_nothing_of_the_machine(shell: InteractiveShell) -> None:
    """Notebooks are published: the bundle holds neither the path of the notebook nor tracebacks."""
    failure = FAILURE._replace(traceback='File "/home/ada/secret.py", line 1')
    panel = widget.Panel(served=True)
    with capture_output() as cell:
        panel.finish(snapshot(failed=1, failures=(failure,), notebook="/home/ada/a.ipynb", state=State.FAILED))

    assert "/home/ada" not in json.dumps(displayed(cell.outputs))


def test_elsewhere_a_live_panel_is_a_picture_and_a_view(shell: InteractiveShell) -> None:
    """Two outputs: the picture with text and HTML, then the widget with nothing to read in its place."""
    with capture_output() as cell:
        widget.Panel(served=False).show(Feed())
    picture, view = displayed(cell.outputs)

    assert {"text/html", "text/plain"} == set(picture)
    assert display.text(snapshot()) == picture["text/plain"]
    assert {WIDGET, "text/plain"} == set(view)
    assert "" == view["text/plain"]


@pytest.mark.parametrize("failed", [0, 1])
def test_finished_output_holds_no_widget(shell: InteractiveShell, *, served: bool, failed: int) -> None:
    """What is saved after the end is the final picture, also after failures: no dead view complains when it is re-opened."""
    panel, feed = widget.Panel(served=served), Feed()
    done = snapshot(
        100 - failed, state=State.FAILED if failed else State.DONE, failed=failed, failures=(FAILURE,) * failed
    )
    with capture_output() as cell:
        panel.show(feed)
        model = panel._page._model
        feed.now = done
        panel.finish(done)
    outputs = displayed(cell.outputs)

    assert not [bundle for bundle in outputs if WIDGET in bundle]
    assert display.html(done, feed.mosaic().states) == outputs[0]["text/html"]
    assert display.text(done) == outputs[0]["text/plain"]
    assert model.comm is None
    if served:
        assert str(done.state) == outputs[0][wire.MIME]["snapshot"]["state"]


def test_a_view_that_is_gone_leaves_a_true_picture(shell: InteractiveShell, *, served: bool) -> None:
    """When the last figures cannot be sent any more, what is saved is the end of the run all the same."""
    panel = widget.Panel(served=served)
    done = snapshot(100, state=State.DONE)
    with capture_output() as cell:
        panel.show(Feed())
        panel._page._model.hold_sync = None
        with pytest.raises(TypeError):
            panel.finish(done)
    outputs = displayed(cell.outputs)

    assert display.text(done) == outputs[0]["text/plain"]
    assert not [bundle for bundle in outputs if WIDGET in bundle]


def test_a_run_over_before_it_was_shown_is_one_picture(shell: InteractiveShell, *, served: bool) -> None:
    """A panel that is finished without having been shown makes no widget at all."""
    with capture_output() as cell:
        widget.Panel(served=served).finish(snapshot(100, state=State.DONE))

    assert [{"text/html", "text/plain"} | ({wire.MIME} if served else set())] == [
        set(bundle) for bundle in displayed(cell.outputs)
    ]


def test_a_retry_is_shown_where_the_run_was(shell: InteractiveShell, *, served: bool) -> None:
    """A second run in the same view adds no output; the live view is back for its length."""
    panel, first, second = widget.Panel(served=served), Feed(), Feed(snapshot(1))
    with capture_output() as cell:
        panel.show(first)
        panel.finish(snapshot(99, state=State.FAILED))
        panel.show(second)
        during = displayed(cell.outputs)
        panel.finish(snapshot(100, state=State.DONE))
    after = displayed(cell.outputs)

    assert (1 if served else 2) == len(during) == len(after)
    assert 1 == sum(WIDGET in bundle for bundle in during)
    assert 0 == sum(WIDGET in bundle for bundle in after)


def test_a_flood_of_updates_becomes_few_messages(shell: InteractiveShell, time: list[float], *, served: bool) -> None:
    """1,000 updates a second for 10 s are at most five messages a second of any kind, and the last figures arrive."""
    panel, feed = widget.Panel(served=served), Feed(snapshot(0))
    with capture_output() as cell:
        panel.show(feed)
        page, shown = Wire(panel), len(cell.outputs)
        for n in range(10_000):
            time[0] += 0.001
            feed.compute(n % 100)
            feed.history = ["started"] * (1 + n // 1_000)
            panel.update(snapshot(n % 100))
        during = page.messages + len(cell.outputs) - shown
        panel.finish(snapshot(100, state=State.DONE))

    assert 40 <= during <= 5.3 * 10
    assert ("done", 100) == (page.model.figures["state"], page.model.figures["durable"])


def test_nothing_is_sent_while_nothing_happens_but_a_heartbeat(shell: InteractiveShell, time: list[float]) -> None:
    """A long call costs a message every 2 s: enough to be believed."""
    panel, feed = widget.Panel(), Feed()
    beats: list[float] = []
    with capture_output():
        panel.show(feed)
        panel._page._model.observe(lambda _change: beats.append(time[0]), "sent_at")
        for tick in range(51):
            time[0] += 0.2
            panel.update(snapshot(elapsed_s=4.0 + tick / 5, rate=10.0 - tick / 10))

    assert 4 <= len(beats) <= 6
    assert all(2.0 <= later - sooner <= 2.7 for sooner, later in pairwise(beats))


def test_picture_is_refreshed_every_five_seconds(shell: InteractiveShell, time: list[float], *, served: bool) -> None:
    """The saved notebook is at most 5 s behind, and the costly refresh is not done more often."""
    panel = widget.Panel(served=served)
    with capture_output() as cell:
        panel.show(Feed())
        for n in range(100):
            time[0] += 0.2
            panel.update(snapshot(n))
    pictures = [output for output in cell.outputs if "text/html" in output.data]

    assert 4 <= len(pictures) <= 5


def test_mosaic_is_sent_whole_and_then_as_changes(shell: InteractiveShell, time: list[float]) -> None:
    """All states once and every 10 s, for views that appear meanwhile; in between what changed, naming what it is based on."""
    panel, feed = widget.Panel(), Feed()
    with capture_output():
        panel.show(feed)
        page = Wire(panel)
        for second in range(14):
            feed.compute(second)
            for _ in range(5):
                time[0] += 0.2
                panel.update(snapshot(second))
    sent = [
        (content, struct.unpack_from("<BII", buffers[0])) for content, buffers in page.custom if "mosaic" in content
    ]

    assert (0, 100) == (sent[0][1][0], sent[0][1][2])
    assert [0] == [content["since"] for content, _ in sent[:1]]
    assert all(content["mosaic"] == version for content, (_, version, _) in sent)
    assert 2 == sum(kind == 0 for _, (kind, _, _) in sent)
    for (before, _), (content, (kind, _, count)) in pairwise(sent):
        assert (kind == 0) or (content["since"] == before["mosaic"] and count <= 2)


def test_a_page_that_has_no_mosaic_asks_for_it(shell: InteractiveShell) -> None:
    """A view that appeared late gets all states; one that has them gets a word and no bytes."""
    panel, feed = widget.Panel(), Feed()
    with capture_output():
        panel.show(feed)
        page = Wire(panel)
        page.say(mosaic=0)
        page.say(mosaic=1)
    (whole, buffers), (known, none) = page.custom

    assert {"mosaic": 1, "since": 0} == whole
    assert (0, 1, 100) == struct.unpack_from("<BII", buffers[0])
    assert bytes([WAITING] * 100) == buffers[0][9:]
    assert ({"mosaic": 1}, []) == (known, none)


def test_a_page_asks_for_a_document(shell: InteractiveShell) -> None:
    """Whoever points at a square is told what it is, or that nothing is known of it; nonsense is not answered."""
    panel = widget.Panel()
    with capture_output():
        panel.show(Feed())
        page = Wire(panel)
        for position in (7, 100, "7", None, [7], True):
            page.say(document=position)

    assert [
        {"document": 7, "found": {"position": 7, "label": "a.txt"}},
        {"document": 100, "found": None},
    ] == [content for content, _ in page.custom]


@pytest.mark.parametrize(
    ("button", "value"), [("stop", ""), ("retry", ""), ("pause", ""), ("workers", "4"), ("rate", "90.5")]
)
def test_a_click_calls_back_and_is_acknowledged(shell: InteractiveShell, button: str, value: str) -> None:
    """A button does one thing, with its value; the page is told that it was heard. Others do nothing."""
    pressed: list[tuple[str, str]] = []
    names = ("stop", "retry", "pause", "workers", "rate")
    feed = Feed(**{name: lambda text, name=name: pressed.append((name, text)) for name in names})
    panel = widget.Panel()
    with capture_output():
        panel.show(feed)
        page = Wire(panel)
        page.say(action=button, value=value)
        page.say(action="rm -rf", value="/")
        page.model._handle_custom_msg("stop", [])
        page.model._handle_custom_msg(None, [])

    assert [(button, value)] == pressed
    assert [({"ack": button}, [])] == page.custom


def test_a_click_that_cannot_be_done_is_answered_in_words(shell: InteractiveShell) -> None:
    """An impossible value comes back as a sentence, and breaks nothing."""

    def refuse(value: str) -> None:
        raise ConfigError(f"{value!r} is no number of calls at a time.", "It is a whole number from 1 up.")

    panel = widget.Panel()
    with capture_output():
        panel.show(Feed(workers=refuse))
        page = Wire(panel)
        page.say(action="workers", value="many")

    assert [
        ({"ack": "workers", "error": "'many' is no number of calls at a time. It is a whole number from 1 up."}, [])
    ] == page.custom


def test_only_buttons_that_do_something_are_offered(shell: InteractiveShell) -> None:
    """Without a callback there is no button."""
    panel = widget.Panel()
    with capture_output():
        panel.show(Feed(stop=lambda _: None))

    assert ["stop"] == panel._page._model.actions


def test_without_anywidget_the_picture_does_the_work(
    shell: InteractiveShell, time: list[float], monkeypatch: pytest.MonkeyPatch, *, served: bool
) -> None:
    """Where anywidget is not installed the panel is one picture that is redrawn."""
    monkeypatch.setitem(sys.modules, "anywidget", None)
    comm._model_class.cache_clear()
    panel, feed, done = widget.Panel(served=served), Feed(), snapshot(100, state=State.DONE)
    with capture_output() as cell:
        panel.show(feed)
        time[0] += 6
        panel.update(snapshot(60))
        panel.finish(done)
    (bundle,) = displayed(cell.outputs)

    assert 3 == len(cell.outputs)
    assert display.html(done, feed.mosaic().states) == bundle["text/html"]


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
    assert isinstance(widget.presenter(), terminal.TerminalReporter)


def test_importing_the_panel_loads_no_widget_library() -> None:
    """`import durable_nb` stays cheap: anywidget, ipywidgets and IPython are imported when a panel is shown."""
    code = (
        "import json, sys, durable_nb.notebook.widget as w; w.Panel();"
        "print(json.dumps([m for m in ('anywidget', 'ipywidgets', 'traitlets') if m in sys.modules]))"
    )
    heavy = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert [] == json.loads(heavy)
