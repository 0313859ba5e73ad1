"""What a run looks like as text, as static HTML and as JSON."""

from __future__ import annotations

import io
from html.parser import HTMLParser

import pytest

from durable_nb import clock, display, mosaics
from durable_nb.notebook import pages, terminal
from durable_nb.records import COMPUTED, GAVE_UP, RESTORED, Failure, Group, Run, Snapshot, State

RUNNING = Snapshot(
    name="embed-filings",
    state=State.RUNNING,
    total=10_000,
    restored=1_200,
    computed=2_800,
    failed=2,
    running=8,
    rate=312.4,
    eta_s=19.2,
    elapsed_s=9.5,
    saved_s=180.0,
    commit_age_s=0.04,
    failures=(
        Failure(17, "10-K/ACME & Söhne.txt", "ValueError: <empty> document", 3, "Traceback …\nValueError: <empty>"),
        Failure(42, "10-K/blank.txt", "TimeoutError: 60 s", 1),
    ),
    message="",
)

DURATIONS = [
    (-1, "0.0 s"),
    (0.44, "0.4 s"),
    (18.6, "19 s"),
    (59.6, "1 min"),
    (200, "3 min 20 s"),
    (2040, "34 min"),
    (7500, "2 h 5 min"),
    (7200, "2 h"),
    (180000, "2 d 2 h"),
]
SPEEDS = [(0, ""), (0.01, "0.6/min"), (0.5, "30.0/min"), (3.14, "3.1/s"), (9.96, "10/s"), (1234.5, "1,235/s")]


class Page(HTMLParser):
    """Collects what the tests ask about a piece of HTML."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words = ""
        self.progress: dict[str, str | None] = {}
        self.image: dict[str, str | None] = {}
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "progress":
            self.progress = dict(attrs)
        if tag == "img":
            self.image = dict(attrs)

    def handle_data(self, data: str) -> None:
        self.words += f" {data}"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def run(name: str = "embed", **changes: object) -> Run:
    now = clock.now()
    record = Run(1, name, State.DONE, "/home/ada/a.ipynb", "", 10, 10, 4, 0, 1, None, now, now, now)
    return record._replace(**changes)  # type: ignore[arg-type]


def test_numbers_that_are_none_are_left_out() -> None:
    """A rate or time that is infinite or undefined never breaks the text."""
    broken = RUNNING._replace(rate=float("inf"), eta_s=float("nan"), elapsed_s=float("nan"), per_minute=float("inf"))

    assert "0.0 s elapsed" in display.text(broken)
    assert not {"inf", "nan"} & set(display.text(broken).split())


def test_text_of_a_running_run() -> None:
    """The first line holds name, state, progress, a bar and the counts; failures stand below it."""
    expected = (
        "embed-filings: running  4,000 / 10,000 (40%)  [########............]  "
        "1,200 restored, 2,800 computed, 2 failed, 312/s, 19 s left, 10 s elapsed, 3 min saved by restoring\n"
        "  failed: 10-K/ACME & Söhne.txt: ValueError: <empty> document (3 attempts)\n"
        "  failed: 10-K/blank.txt: TimeoutError: 60 s (1 attempt)"
    )

    assert expected == display.text(RUNNING)


@pytest.mark.parametrize("state", [state for state in State if state is not State.RUNNING])
def test_a_run_that_ended_promises_no_time_left(state: State) -> None:
    """Speed and time left are only shown while there is something to wait for."""
    ended = RUNNING._replace(state=state)

    assert "s left" not in display.text(ended) and "312" not in display.text(ended)
    assert "s left" not in display.html(ended) and "As of" not in display.html(ended)


def test_many_failures_are_capped_and_counted() -> None:
    """The text shows five failures and says how many more there are, beyond those the snapshot carries."""
    failures = tuple(Failure(n, f"doc {n}", "KeyError: 'x'", 1) for n in range(50))
    lines = display.text(RUNNING._replace(failed=1_234, failures=failures)).splitlines()

    assert 1 + 5 + 1 == len(lines)
    assert "  ... and 1,229 more" == lines[-1]


def test_own_words_are_ascii_and_labels_cannot_move_the_cursor() -> None:
    """Whatever a document is called, the text stays on its lines and sends no escape sequence."""
    hostile = RUNNING._replace(name="a\nb", failures=(Failure(0, "x\x1b[2J\ry", "E:\n two", 1),))
    shown = display.text(hostile)

    assert shown.isascii()
    assert ["a b: running", "  failed: x\\x1b[2J y: E: two (1 attempt)"] == [
        shown.splitlines()[0][:12],
        shown.splitlines()[1],
    ]


def test_unknown_total_shows_no_bar_and_no_percentage() -> None:
    """While the number of documents is not known, nothing pretends to know it."""
    unknown = RUNNING._replace(total=None, eta_s=None)

    assert "4,000 durable" in display.text(unknown)
    assert "%" not in display.text(unknown) and "[" not in display.text(unknown).splitlines()[0]
    assert "progress" not in Page(display.html(unknown)).tags


@pytest.mark.parametrize(("durable", "total", "expected"), [(9_999, 10_000, 99), (0, 0, 100), (7, 5, 100), (0, 3, 0)])
def test_percentage_is_100_only_when_everything_is_durable(durable: int, total: int, expected: int) -> None:
    """9,999 of 10,000 is 99 %; an input that shrank is complete."""
    assert expected == display.percentage(RUNNING._replace(restored=0, computed=durable, total=total))


def test_html_needs_nothing_a_sanitizer_strips() -> None:
    """The picture consists of elements that JupyterLab keeps in an untrusted notebook, and of inline styles."""
    page = Page(display.html(RUNNING, bytes([COMPUTED] * 10)))
    kept = {
        "div",
        "b",
        "span",
        "img",
        "progress",
        "details",
        "summary",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
        "code",
    }

    assert set() == set(page.tags) - kept
    assert ("40", "100") == (page.progress["value"], page.progress["max"])


def test_the_bar_shows_what_was_restored_computed_and_failed() -> None:
    """Each kind has its share of the bar, and a single failure among 10,000 is wide enough to be seen."""
    blue, green, red, grey = "#3b82d6", "#2f9e5f", "#d9534f", "rgba(128,128,128,.35)"
    stops = f"{blue} 0%,{blue} 12%,{green} 12%,{green} 40%,{red} 40%,{red} 40.4%,{grey} 40.4%"

    assert f"linear-gradient(90deg,{stops})" in display.html(RUNNING)
    for counts in ({"total": 0}, {"total": 3_000}, {"restored": 10_000, "computed": 0, "failed": 9}):
        assert "100." not in display.html(RUNNING._replace(**counts))


def test_html_escapes_everything_the_user_named() -> None:
    """Names, labels, errors and messages are shown, never interpreted."""
    evil = "<img src=x onerror=alert(1)>\"'"
    page = Page(display.html(RUNNING._replace(name=evil, message=evil, failures=(Failure(0, evil, evil, 1),))))

    assert "img" not in page.tags
    assert 4 == page.words.count("onerror=alert(1)")


def test_html_of_a_running_run_says_when_that_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """A saved notebook that was never finished does not claim that the run still runs."""
    monkeypatch.setattr(clock, "now", lambda: 1_750_000_000.0)

    assert "As of 2025-06-15" in display.html(RUNNING)
    assert "run the cell again" in display.html(RUNNING)


@pytest.mark.parametrize(("seconds", "expected"), DURATIONS)
def test_duration_has_at_most_two_units(seconds: float, expected: str) -> None:
    """The same table is tested in the front end, so that page and text agree."""
    assert expected == display.duration(seconds)


@pytest.mark.parametrize(("rate", "expected"), SPEEDS)
def test_speed_reads_well(rate: float, expected: str) -> None:
    """Slow steps are counted by the minute; a run that stands still has no speed."""
    assert expected == display.speed(rate)


def test_runs_are_listed_in_text_and_html() -> None:
    """Both tables hold the same cells, escaped where that matters, with the notebook's name but not its folder."""
    table = pages.RunTable([run("a<b>", total=12, done=10, failed=2, attempts=3), run("other", total=None)])
    cells = ["a<b>", "done", "10 / 12", "a.ipynb"]

    assert all(cell in repr(table).splitlines()[1] for cell in cells)
    assert all(cell in Page(table._repr_html_()).words for cell in cells)
    assert "/home/ada" not in repr(table) + table._repr_html_()


def test_no_runs_says_how_to_make_one() -> None:
    """An empty database is an invitation, not an empty table."""
    table = pages.RunTable([])

    assert "%%durable" in repr(table)
    assert "%%durable" in table._repr_html_()


def test_a_run_without_heartbeat_is_not_called_running() -> None:
    """A killed kernel leaves the word "running" behind; the list does not repeat it."""
    fresh, dead = run(state=State.RUNNING), run(state=State.RUNNING, heartbeat=clock.now() - 7_200)

    assert " running " in pages.runs_text([fresh])
    assert "interrupted (no heartbeat for 2 h)" in pages.runs_text([dead])


class Feed:
    """As much of a run as a reporter looks at."""

    def snapshot(self) -> Snapshot:
        return RUNNING


def test_terminal_line_rewrites_itself_and_never_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal each update returns to the start of one line; the end erases it and prints everything."""
    monkeypatch.setenv("COLUMNS", "40")
    stream = Terminal()
    reporter = terminal.TerminalReporter(stream)

    reporter.show(Feed())
    reporter.update(RUNNING._replace(computed=2_900))
    drawn = stream.getvalue()
    reporter.finish(RUNNING._replace(state=State.DONE))

    assert 2 == drawn.count("\r") and "\n" not in drawn
    assert all(len(line.removesuffix("\x1b[K")) <= 39 for line in drawn.split("\r"))
    assert display.text(RUNNING._replace(state=State.DONE)) in stream.getvalue()
    assert stream.getvalue().endswith("\n")


def test_the_terminal_line_says_what_matters_most_first() -> None:
    """However narrow the terminal, what is cut is what can be missed; 80 columns hold rate, time left and failures."""
    shown = display.line(RUNNING, 79)

    assert "embed-filings: running  4,000 / 10,000 (40%)  312/s  19 s left  2 failed" == shown
    assert shown.startswith(display.line(RUNNING, 60))
    assert "[########............]" in display.line(RUNNING, 110)
    assert "embed-fil" == display.line(RUNNING, 9)


@pytest.mark.parametrize("width", [1, 10, 25, 40, 60, 79, 120])
@pytest.mark.parametrize("name", ["x" * 200, "文書" * 40, "a\x1b[2J\rb", "🔥" * 30, "é" * 100])
def test_the_terminal_line_never_wraps(width: int, name: str) -> None:
    """Letters of two columns count twice, and nothing in a name moves the cursor."""
    from unicodedata import east_asian_width

    shown = display.line(RUNNING._replace(name=name, message="x" * 50), width)

    assert sum(1 + (east_asian_width(character) in "WF") for character in shown) <= width
    assert shown.isprintable()


def test_a_paused_run_says_so_everywhere() -> None:
    """A pause is the state that is shown, with what the run waits for, and promises no time left; its limits are told."""
    paused = RUNNING._replace(
        paused=True, waiting_for="somebody to press Resume", limit_workers=2, per_minute=90.0, running=0
    )
    for shown in (display.text(paused), Page(display.html(paused)).words, display.line(paused, 200)):
        assert "paused" in shown and "running" not in shown
        assert "s left" not in shown and "312" not in shown
        assert "waits for somebody to press Resume" in shown
        assert "at most 2 at a time" in shown and "at most 90 a minute" in shown
    over = display.text(paused._replace(state=State.INTERRUPTED))
    assert "interrupted" in over and "paused" not in over and "at most" not in over


def test_failures_are_grouped_by_reason() -> None:
    """One error of a thousand documents is one line; an error of a single document is not told twice."""
    grouped = RUNNING._replace(
        failed=1_201, groups=(Group("TimeoutError: <60 s>", 1_200), Group("ValueError: <empty> document", 1))
    )
    page = Page(display.html(grouped))

    assert "1,200 x TimeoutError: <60 s>" in display.text(grouped)
    assert "1,200 ×" in " ".join(page.words.split()) and "TimeoutError: <60 s>" in page.words
    assert 2 == page.words.count("ValueError: <empty> document") + display.text(grouped).count(" 1 x ") + 1


def test_the_picture_of_all_documents_is_in_the_page() -> None:
    """The mosaic is a PNG inside the page, and its text says the same in numbers where pictures are taken away."""
    states = bytes([RESTORED] * 1_200 + [COMPUTED] * 2_800 + [GAVE_UP] * 2)
    page = Page(display.html(RUNNING, states))

    assert mosaics.data_uri(mosaics.png(states, 10_000)) == page.image["src"]
    assert "All documents in their order: 1,200 restored, 2,800 computed, 2 failed, 5,998 waiting" == page.image["alt"]
    assert len(display.html(RUNNING, states)) < 5_000
    assert {} == Page(display.html(RUNNING)).image


def test_the_page_reads_well_without_styles() -> None:
    """Stripped of every style and picture, what is left says the same in the same order."""
    page = Page(display.html(RUNNING, bytes([COMPUTED] * 10)))
    words = " ".join(page.words.split())

    assert words.startswith("running embed-filings 4,000 / 10,000 (40%) ● 1,200 restored ● 2,800 computed ● 2 failed")
    assert "312/s · 19 s left" in words


def test_a_log_receives_only_the_end() -> None:
    """Where nothing can be rewritten, progress is not repeated line after line."""
    stream = io.StringIO()
    reporter = terminal.TerminalReporter(stream)

    reporter.show(Feed())
    reporter.update(RUNNING)
    before = stream.getvalue()
    reporter.finish(RUNNING)

    assert "" == before
    assert f"{display.text(RUNNING)}\n" == stream.getvalue()


def test_a_terminal_without_the_letters_of_a_label_gets_them_spelled_out() -> None:
    """A document called "Söhne" does not end a run on an ASCII terminal."""
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding="ascii")

    terminal.TerminalReporter(stream).finish(RUNNING)

    assert b"S\\xf6hne" in written.getvalue()
