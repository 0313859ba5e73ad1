"""What a real kernel sends to a real client while a run is computed, and what it hears."""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime
from queue import Empty
from typing import TYPE_CHECKING, Any

import ipykernel
import pytest

from durable_nb.wire import MIME
from tests.kernels import wait_until
from tests.matrix import usual
from tests.notebook.cells import LOAD, STEPS

if TYPE_CHECKING:
    from tests.kernels import Kernel
    from tests.notebook.cells import Start

WIDGET = "application/vnd.jupyter.widget-view+json"
OURS = {"comm_open", "comm_msg", "comm_close", "display_data", "update_display_data"}
BUSY = """
@step
def brief(doc):
    until = time.perf_counter() + 0.0006
    while time.perf_counter() < until:
        pass
    if doc % 1_000 == 7:
        raise ValueError("seven")
    return doc
"""


def heard(one: Kernel, message_id: str, *, timeout: float = 120) -> list[tuple[float, dict[str, Any]]]:
    """Every message of a cell on the channel that all clients listen to, with the time the kernel sent it."""
    found, deadline = [], time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            message = one._client.get_iopub_msg(timeout=1)
        except Empty:
            continue
        sent = message["header"][
            "date"
        ]  # a text once ipyparallel was imported, which has jupyter_client leave dates alone
        sent = datetime.fromisoformat(sent) if isinstance(sent, str) else sent
        found.append((sent.timestamp(), message))
        is_idle = message["msg_type"] == "status" and message["content"]["execution_state"] == "idle"
        if is_idle and message["parent_header"].get("msg_id") == message_id:
            return found
    raise AssertionError("the cell did not end")


def outputs(messages: list[tuple[float, dict[str, Any]]]) -> list[dict[str, Any]]:
    """What a front end would have saved: outputs by display id after all updates."""
    saved: dict[str, dict[str, Any]] = {}
    for _, message in messages:
        if message["msg_type"] in ("display_data", "update_display_data"):
            saved[message["content"]["transient"]["display_id"]] = message["content"]["data"]
    return list(saved.values())


@pytest.mark.parametrize("served", usual(["1", ""], "1"))
def test_ten_thousand_documents_are_a_few_messages(
    kernel: Start, served: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """At most five messages a second while a run is computed, a last true picture at the end, and no widget in it."""
    one = kernel(DURABLE_NB_SERVER=served)
    one.ok(LOAD)
    one.ok(STEPS + BUSY)
    messages = heard(
        one, one.start("%%durable many\nresults = brief.map(range(10_000), workers=2, on_error='collect')")
    )
    ours = [(at, message) for at, message in messages if message["msg_type"] in OURS]
    begun = next(at for at, message in ours if message["msg_type"] == "display_data")
    ended = next(at for at, message in reversed(ours) if message["msg_type"] == "comm_close")
    within = [at for at, _ in ours if begun + 0.1 < at < ended - 0.3]
    busiest = max(sum(at <= other < at + 1 for other in within) for at in within)
    kinds = Counter(message["msg_type"] for _, message in ours)
    with capsys.disabled():
        print(f"\n{len(ours)} messages in {ended - begun:.1f} s, at most {busiest} in a second: {dict(kinds)}")
    saved = outputs(messages)

    assert busiest <= 5
    assert len(ours) <= 5 * (ended - begun) + 15
    assert not [bundle for bundle in saved if WIDGET in bundle]
    assert saved[0]["text/plain"].startswith("many: failed  9,990 / 10,000")
    assert "data:image/png;base64," in saved[0]["text/html"]
    assert "10 &times;" in saved[0]["text/html"] or "10 failed" in saved[0]["text/html"]
    if served:
        (bundle,) = saved
        assert ("failed", 9_990, 10) == tuple(bundle[MIME]["snapshot"][key] for key in ("state", "durable", "failed"))
        assert "000" not in bundle[MIME]["store"] and 12 == len(bundle[MIME]["store"])


@pytest.mark.parametrize("end", ["1 / 0", "raise KeyboardInterrupt", "pass"])
def test_however_a_cell_ends_its_output_is_true(kernel: Start, end: str) -> None:
    """After an error, an interrupt and a good end the saved bundle says so, and holds no widget."""
    one = kernel(DURABLE_NB_SERVER="1")
    one.ok(LOAD)
    one.ok(STEPS)
    (bundle,) = outputs(heard(one, one.start(f"%%durable ending\nembed('a')\n{end}")))
    state = {"1 / 0": "failed", "pass": "done"}.get(end, "interrupted")

    assert WIDGET not in bundle
    assert (state, 1) == (bundle[MIME]["snapshot"]["state"], bundle[MIME]["snapshot"]["durable"])
    assert f"ending: {state}" in bundle["text/plain"]


@pytest.mark.skipif(
    ipykernel.version_info[0] < 7, reason="ipykernel 6 hears nothing while a cell runs; the server does"
)
def test_clicks_over_the_comm(kernel: Start) -> None:
    """Pause, a limit and Stop pressed in the widget reach the run; what cannot be done is answered in words."""
    one = kernel()
    one.ok(LOAD)
    one.ok(STEPS)
    cell = one.start("%%durable clicked\nfor n in range(100_000):\n    await aslow(f'page {n}')")
    news: list[dict[str, Any]] = []

    def listen() -> dict[str, Any]:
        while True:
            try:
                news.append(one._client.get_iopub_msg(timeout=0.01))
            except Empty:
                break
        figures: dict[str, Any] = {}
        for message in news:
            if message["msg_type"] == "comm_msg" and message["content"]["data"].get("method") == "update":
                figures |= message["content"]["data"]["state"].get("figures", {})
        return figures

    def click(**content: Any) -> None:
        comm = next(
            message["content"]["comm_id"]
            for message in news
            if message["msg_type"] == "comm_open" and "_esm" in message["content"]["data"]["state"]
        )
        data = {"method": "custom", "content": content}
        channel = one._client.shell_channel
        channel.send(one._client.session.msg("comm_msg", {"comm_id": comm, "data": data}))

    def answers() -> list[dict[str, Any]]:
        custom = [message["content"]["data"] for message in news if message["msg_type"] == "comm_msg"]
        return [data["content"] for data in custom if data.get("method") == "custom" and "ack" in data["content"]]

    wait_until(lambda: listen().get("computed", 0) > 3, describing="the run is under way")
    click(action="pause")
    wait_until(lambda: listen().get("paused") is True, describing="it is paused")
    click(action="resume")
    click(action="workers", value="nonsense")
    click(action="rate", value="1200")
    wait_until(lambda: listen().get("per_minute") == 1200, describing="the limit is shown")
    assert not listen()["paused"]
    click(action="stop")
    reply = one.finish(cell)

    assert "RunStopped" in reply.error
    assert ["pause", "resume", "workers", "rate"] == [answer["ack"] for answer in answers()][:4]
    assert "is no number of calls at a time" in answers()[2]["error"]
    assert "stopping" in one.ok("%durable show clicked").result
