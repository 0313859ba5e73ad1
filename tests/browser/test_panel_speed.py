"""How fast the panel is with a million documents, and how much of the page's memory it takes."""

from __future__ import annotations

import pytest

from tests.browser.lab import chromium, require_chromium
from tests.browser.panel import LIVE, MILLION, PanelPage

pytestmark = pytest.mark.browser

FIRST_PAINT = """async ([figures, counts]) => {
  const message = panel.full(1, panel.states(counts));
  const begun = performance.now();
  panel.open({figures}, (content) => {
    if ('mosaic' in content) queueMicrotask(() => panel.model.message({mosaic: 1, since: 0}, [message]));
  });
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  do await frame(); while (panel.pixel(1, 1)[3] === 0);
  await frame();
  return performance.now() - begun;
}"""
UPDATES = """async ([total, changes, updates]) => {
  const times = [];
  for (let version = 2; version < 2 + updates; version += 1) {
    const begun = performance.now();
    const news = Array.from({length: changes}, (_, index) => [(version * 7919 + index * 101) % total, 2]);
    const delta = panel.delta(version, news);
    const sent = performance.now();
    panel.model.set({figures: {...panel.model.get('figures'), mosaic_version: version, computed: version}});
    panel.model.message({mosaic: version, since: version - 1}, [delta]);
    for (let turn = 0; turn < 20; turn += 1) await null;
    times.push(performance.now() - sent);
    await new Promise((done) => requestAnimationFrame(done));
  }
  return times.sort((a, b) => a - b);
}"""


def heap(panel: PanelPage) -> float:
    """MB of the page's objects and buffers after a collection."""
    session = panel.page.context.new_cdp_session(panel.page)
    session.send("HeapProfiler.enable")
    session.send("HeapProfiler.collectGarbage")
    usage = session.send("Runtime.getHeapUsage")
    session.detach()
    return float(usage["usedSize"] + usage.get("embedderHeapUsedSize", 0) + usage.get("backingStorageSize", 0)) / 1e6


@pytest.mark.parametrize("failed", [57, 10_000])
def test_a_million_documents_are_fast(failed: int) -> None:
    """First paint within 500 ms, an update of 5,000 documents within 16 ms (median), at most 100 MB more."""
    require_chromium()
    counts = MILLION | {"failed": failed}
    groups = [{"error": f"Error {n}", "count": failed // 20} for n in range(20)]
    figures = LIVE | counts | {"durable": 512_345, "mosaic_version": 1, "groups": groups}
    figures["failures"] = []
    lost = [
        {
            "position": n,
            "label": f"10-K/{n}.txt",
            "error": f"Error {n % 20}",
            "attempts": 3,
            "traceback": "line\n" * 500,
        }
        for n in range(50)
    ]
    with chromium() as context:
        panel = PanelPage(context)
        before = heap(panel)
        first_ms = panel.run(FIRST_PAINT, [figures, counts])
        panel.run("(failures) => panel.model.set({failures})", lost)
        times = panel.run(UPDATES, [1_000_000, 5_000, 40])
        grown = heap(panel) - before
    median, worst = times[len(times) // 2], times[-1]
    print(
        f"\n{failed:,} failed: first paint {first_ms:.0f} ms, update {median:.1f} ms (worst {worst:.1f}), {grown:+.1f} MB"
    )

    assert first_ms <= 500
    assert median <= 16
    assert grown <= 100
