"""Cells that are edited between the kill and the resume: the second text under ``=====`` is what is run again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.crash.test_hazards import (  # noqa: F401
    CAUGHT,
    durably,
    known_to_fail,
    library,
    plain_kernel,
    plainly,
    pytestmark,
    verdict_of,
)
from tests.notebook.hazards import OUTSIDE, SAME, Hazard, parsed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kernels import Kernel

EDITS = parsed(r"""
## E02 first of two models of one name changed | out | ASKED | +20
model = fakeai.Model("small")
out = [model.encode(d) for d in docs]
model = fakeai.Model("large")
out += [model.encode(d) for d in docs]
=====
model = fakeai.Model("tiny")
out = [model.encode(d) for d in docs]
model = fakeai.Model("large")
out += [model.encode(d) for d in docs]
## E04 first loop removed, large table changed after it | out | ASKED | +20
table = {i: 1 for i in range(3000)}
def work(d):
    return embed(d)[1] * table[5]
out = [work(d) for d in docs]
table[5] = 2
out = [work(d) for d in docs]
=====
table = {i: 1 for i in range(3000)}
def work(d):
    return embed(d)[1] * table[5]
table[5] = 2
out = [work(d) for d in docs]
## E07 documents inserted, removed, re-ordered | out | +4
out = []
for d in docs:
    out.append(embed(d.upper()))
=====
out = []
for d in ["new", *reversed(docs[3:]), docs[0]]:
    out.append(embed(d.upper()))
## E08 helper of the arguments edited | out | +20
def clean(d):
    return d.strip()
out = [embed(clean(d)) for d in docs]
=====
def clean(d):
    return d.strip() if d.endswith("3") else d.strip().upper()
out = [embed(clean(d)) for d in docs]
## E12 loop variable renamed, another loop put before | out
def clean(d):
    return d.upper()
out = [embed(clean(d)) for d in docs]
=====
def clean(d):
    return d.upper()
pre = [embed(d) for d in docs[:3]]
out = [embed(clean(page)) for page in docs]
## E13 large table changed differently between two loops | out | ASKED | +20
table = {i: 1 for i in range(3000)}
def work(d):
    return embed(d)[1] * table[5]
out = [work(d) for d in docs[:2]]
table[5] = 2
out += [work(d) for d in docs]
=====
table = {i: 1 for i in range(3000)}
def work(d):
    return embed(d)[1] * table[5]
out = [work(d) for d in docs[:2]]
table[5] = 3
out += [work(d) for d in docs]
## E14 step edited, recompute | out | --on-change recompute | +20
def work(d):
    return embed(d)[0]
out = [work(d) for d in docs]
=====
def work(d):
    return embed(d)[1]
out = [work(d) for d in docs]
## E18 model in an own object, another name | out | +20
class Rag:
    def __init__(self, name):
        self.model = fakeai.Model(name)
    def ask(self, d):
        return self.model.encode(d)
rag = Rag("small")
out = [rag.ask(d) for d in docs]
=====
class Rag:
    def __init__(self, name):
        self.model = fakeai.Model(name)
    def ask(self, d):
        return self.model.encode(d)
rag = Rag("large")
out = [rag.ask(d) for d in docs]
## E19 model as an argument, first of two | out | +20
def ask(model, d):
    return model.encode(d)
model = fakeai.Model("small")
out = [ask(model, d) for d in docs]
model = fakeai.Model("large")
out += [ask(model, d) for d in docs]
=====
def ask(model, d):
    return model.encode(d)
model = fakeai.Model("tiny")
out = [ask(model, d) for d in docs]
model = fakeai.Model("large")
out += [ask(model, d) for d in docs]
## setting of a helper edited, whose name is a local variable elsewhere | out | ASKED | +20
params = {"lang": "en"}
def build(d):
    return params["lang"] + d
def work(d):
    params = {}
    for k in [d]:
        params[k] = embed(build(k))
    return params
out = [work(d) for d in docs]
=====
params = {"lang": "german"}
def build(d):
    return params["lang"] + d
def work(d):
    params = {}
    for k in [d]:
        params[k] = embed(build(k))
    return params
out = [work(d) for d in docs]
## large list changed by an edited step | out | --on-change recompute | +20
rows = [f"row {i}" for i in range(3000)]
def fix(rows, k):
    rows[0] = f"x{k}" if k else rows[0]
def head(rows):
    return rows[0]
def clean(t):
    return t.upper()
out = []
for k in range(20):
    fix(rows, k)
    out.append(embed(clean(head(rows))))
=====
rows = [f"row {i}" for i in range(3000)]
def fix(rows, k):
    rows[0] = f"a longer text {k}" if k else rows[0]
def head(rows):
    return rows[0]
def clean(t):
    return t.upper()
out = []
for k in range(20):
    fix(rows, k)
    out.append(embed(clean(head(rows))))
## E09 document inserted before a counting step | out n | SAME `n`
n = 0
def work(d):
    global n
    n += 1
    return embed(d)
out = [work(d) for d in docs]
=====
n = 0
def work(d):
    global n
    n += 1
    return embed(d)
out = [work(d) for d in ["new", *docs]]
## E10 document inserted before a step that collects | out seen | SAME `seen`
seen = []
def work(d):
    seen.append(d)
    return embed(d)
out = [work(d) for d in docs]
=====
seen = []
def work(d):
    seen.append(d)
    return embed(d)
out = [work(d) for d in ["new", *docs]]
## E11 documents removed before a step that fills a dict | out index | SAME `index` | +4
index = {}
def work(d):
    index[d] = embed(d)[1]
    return index[d]
out = [work(d) for d in docs]
=====
index = {}
def work(d):
    index[d] = embed(d)[1]
    return index[d]
out = [work(d) for d in docs[3:]]
## E15 object with state, a document removed | log | SAME `agent` | +4
class Agent:
    def __init__(self):
        self.log = []
agent = Agent()
def act(d):
    agent.log.append(d)
    return [len(agent.log), embed(d)]
out = [act(d) for d in docs]
log = agent.log
=====
class Agent:
    def __init__(self):
        self.log = []
agent = Agent()
def act(d):
    agent.log.append(d)
    return [len(agent.log), embed(d)]
out = [act(d) for d in docs[2:]]
log = agent.log
## E16 model loaded by a function, another name | out | ASKED | +20
def load(name):
    global model
    model = fakeai.Model(name)
load("small")
out = [model.encode(d) for d in docs]
=====
def load(name):
    global model
    model = fakeai.Model(name)
load("large")
out = [model.encode(d) for d in docs]
## E05 edited function reached in a dict, inside a broad except | ok bad | ASKED
def work(d):
    return embed(d)
handlers = {"a": lambda d: work(d)}
ok, bad = [], []
for d in docs:
    try:
        ok.append(handlers["a"](d))
    except Exception:
        bad.append(d)
=====
def work(d):
    return embed(d)[::-1]
handlers = {"a": lambda d: work(d)}
ok, bad = [], []
for d in docs:
    try:
        ok.append(handlers["a"](d))
    except Exception:
        bad.append(d)
## E06 document inserted, partials handed over | out | +3
from functools import partial
with ThreadPoolExecutor(1) as ex:
    out = [f.result() for f in [ex.submit(partial(embed, d)) for d in docs]]
=====
from functools import partial
with ThreadPoolExecutor(1) as ex:
    out = [f.result() for f in [ex.submit(partial(embed, d)) for d in ["new", *docs]]]
""")
OPEN_EDITS = parsed(r"""
## E03 documents that differ in the order of their keys | out | +20
recs = [r for i in range(10) for r in ({"a": i, "b": 2}, {"b": 2, "a": i})]
def work(rec):
    embed(str(rec))
    return json.dumps(rec)
out = [work(r) for r in recs]
=====
recs = [r for i in range(10) for r in ({"b": 2, "a": i}, {"a": i, "b": 2})]
def work(rec):
    embed(str(rec))
    return json.dumps(rec)
out = [work(r) for r in recs]
""")


def split(hazard: Hazard) -> tuple[Hazard, Hazard]:
    """Before and after the edit."""
    before, after = re.split(r"^=====\n", hazard.body, flags=re.MULTILINE)
    return hazard._replace(body=before.strip("\n"), options=""), hazard._replace(body=after.strip("\n"))


@pytest.fixture(scope="module", autouse=True)
def models(library: Path) -> None:  # noqa: F811
    """A model with a name, as a library would have it."""
    with (library / "fakeai.py").open("a") as file:
        file.write(
            "\nclass Model:\n    def __init__(self, name):\n        self._name, self._lock = name, threading.Lock()\n\n"
            "    def encode(self, text):\n        work(text)\n        return [self._name, len(text)]\n"
        )


@pytest.mark.parametrize(
    "hazard",
    [*EDITS, *map(known_to_fail, OPEN_EDITS)],
    ids=lambda hazard: hazard.title,
)
def test_edit(hazard: Hazard, plain_kernel: Kernel, library: Path, models: None, tmp_path: Path) -> None:  # noqa: F811
    """An edited cell ends as a plain run of what it is now, or asks, or says in which way it does not."""
    before, after = split(hazard)
    plainly(plain_kernel, before, tmp_path / "before")
    plain = plainly(plain_kernel, after, tmp_path / "plain")
    count = len((tmp_path / "before" / "executed.log").read_text().splitlines())
    first = durably(before, tmp_path / "durable", library, crash_at=max(2, count * 2 // 5))
    assert first.reply is None, f"NOT KILLED {first}"
    resumed = durably(after, tmp_path / "durable", library, crash_at=0)
    assert resumed.reply is not None
    shown = f"plain: {plain}\n\nresumed: {resumed}"

    if hazard.verdict == "asked":
        is_caught = CAUGHT in resumed.reply.traceback and "CodeChanged" in resumed.reply.traceback
        assert resumed.reply.error.startswith("CodeChanged") or is_caught, shown
        return
    assert (SAME if hazard.verdict == OUTSIDE else hazard.verdict) == verdict_of(plain, resumed), shown
    assert hazard.says in resumed.said, shown
    assert resumed.executed <= plain.executed + hazard.extra, shown
