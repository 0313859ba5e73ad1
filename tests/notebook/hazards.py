"""Cells that a resumed run could get wrong: those of the research notes. Our own are in `hazards_of_state`,
`hazards_of_arguments` and `hazards_of_flow`.

Each is run plainly in a kernel without durable_nb, then under ``%%durable``, killed at 40 % and resumed.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Any, NamedTuple

SAME, ANNOUNCED, REFUSED, OUTSIDE = "same", "announced", "refused", "outside"
"""The final names and files equal those of the plain run; or a line says what differs; or an error says what to do; or
only the outside world differs, as the README says: what a restored call printed, warned of, or set in the process."""


class Hazard(NamedTuple):
    """One cell and what has to become of it."""

    title: str
    names: str
    """What is compared afterwards; - for nothing."""
    body: str
    verdict: str = SAME
    says: str = ""
    """Stands in the announcement or refusal: what it is about, or the way out."""
    options: str = ""
    above: str = ""
    """A cell above the durable one."""
    extra: int = 1
    """Executions that a crash and a resume may add to those of the plain run: what was in flight, what raised."""


def described(value: Any) -> Any:
    """A value as JSON that two kernels can compare: types, order and every number of it."""
    kind = type(value).__name__
    if type(value) is list:
        return [*map(described, value)]
    if isinstance(value, (list, tuple, deque)):
        return {kind: [*map(described, value)]}
    if isinstance(value, dict):
        return {kind: [[described(key), described(item)] for key, item in value.items()]}
    if isinstance(value, (set, frozenset)):
        return {kind: sorted(map(repr, value))}
    if hasattr(value, "dtypes") and hasattr(value, "index"):
        return {f"{kind} {value.dtypes}": described(value.reset_index().to_dict("list"))}
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return {f"{kind} {value.dtype} {getattr(value, 'shape', ())}": described(value.tolist())}
    if isinstance(value, BaseException):
        return {kind: described(value.args)}
    if hasattr(value, "__dict__") and not callable(value):
        return {kind: described(vars(value))}
    return getattr(value, "__qualname__", None) or repr(value)


def parsed(text: str) -> list[Hazard]:
    """Hazards as they are typed below: ``## title | names | VERDICT words that are said | --options | +extra``, under
    it the cell, and above a line of dashes the cell that comes before.
    """
    found = []
    for block in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        head, _, body = block.partition("\n")
        above, dashes, cell = body.partition("\n---\n")
        title, names, *rest = (part.strip() for part in head.split(" | "))
        fields: dict[str, Any] = {"above": above} if dashes else {}
        for part in rest:
            word, _, says = part.partition(" ")
            if part.startswith("--"):
                fields["options"] = part
            elif part.startswith("+"):
                fields["extra"] = int(part)
            else:
                fields |= {"verdict": word.lower(), "says": says}
        found.append(Hazard(title, names, (cell if dashes else body).strip("\n"), **fields))
    return found


RESEARCHED = parsed(r"""
## client chain | vectors d
vectors = []
for d in docs:
    vectors.append(client.embeddings.create(input=d).data[0].embedding)
## unpicklable response in a variable | - | REFUSED Return the data inside it instead
vectors = []
for d in docs:
    r = client.embeddings.create(input=d)
    vectors.append(r.data[0].embedding)
## sampling equal calls | n
jokes = [client.chat("joke") for _ in range(20)]
n = len(set(jokes))
## remote collection.add | v | ANNOUNCED --steps col.add
col = fakeai.Collection("outside/remote.txt")
for d in docs:
    v = embed(d)
    col.add(d)
## remote collection.add as a step | v | --steps col.add
col = fakeai.Collection("outside/remote.txt")
for d in docs:
    v = embed(d)
    col.add(d)
## index.add in memory | items
ix = fakeai.Index()
for d in docs:
    ix.add(embed(d))
items = ix.items
## file append | f.name | ANNOUNCED --steps f.write
for d in docs:
    with open("outside/log.jsonl", "a") as f:
        f.write(json.dumps(embed(d)) + "\n")
## file per item | -
for d in docs:
    open(f"outside/{d}.json", "w").write(json.dumps(embed(d)))
## sqlite insert | - | ANNOUNCED --steps con.execute
con = sqlite3.connect("outside/rows.db")
con.execute("create table if not exists t(a)")
for d in docs:
    con.execute("insert into t values (?)", [json.dumps(embed(d))])
    con.commit()
## global counter | out count
count = 0
def work(d):
    global count
    count += 1
    return embed(d)
out = [work(d) for d in docs]
## cache dict of a function | out cache
cache = {}
def cached(d):
    if d not in cache:
        cache[d] = embed(d)
    return cache[d]
out = [cached(d) for d in docs + docs]
## cache dict of the cell | cache d
cache = {}
for d in docs + docs:
    if d in cache:
        continue
    cache[d] = embed(d)
## generator result | out | REFUSED --steps
def gen(d):
    yield embed(d)
out = []
for d in docs:
    for x in gen(d):
        out.append(x)
## break | out v d
out = []
for d in docs:
    v = embed(d)
    if v[1] == embed("doc 15")[1]:
        break
    out.append(v)
## retries around a call | out
def flaky(d):
    if d.endswith(("3", "5")) and not os.path.exists(f"outside/{d}"):
        open(f"outside/{d}", "w").close()
        raise ConnectionError(d)
    return embed(d)
out = []
for d in docs:
    for attempt in range(3):
        try:
            out.append(flaky(d))
            break
        except ConnectionError:
            continue
## rate limit sleep | out
out = []
for d in docs:
    out.append(embed(d))
    time.sleep(0.05)
## lambda in map | out
out = list(map(lambda d: embed(d)[0], docs))
## method of a notebook class | out
class M:
    def __init__(self, k):
        self.k = k
    def enc(self, d):
        return [x * self.k for x in embed(d)]
m = M(3)
out = [m.enc(d) for d in docs]
## stateful object | out n
class M:
    def __init__(self):
        self.n = 0
    def enc(self, d):
        self.n += 1
        return embed(d)
m = M()
out = [m.enc(d) for d in docs]
n = m.n
## dict and set comprehension | o q
o = {d: embed(d) for d in docs}
q = {embed(d)[1] for d in docs}
## nested comprehension | o
o = [[embed(d + str(k)) for k in range(3)] for d in docs[:7]]
## walrus in a comprehension | o y
o = [y for d in docs if (y := embed(d))[1] > 3]
## generator expression | o
g = (embed(d) for d in docs)
o = sum(x[1] for x in g)
## sorted by a step | - | REFUSED sort by those
o = sorted(docs, key=embed)
## sorted by a step, run again | o v | REFUSED nothing in this cell can be kept | --replay embed
v = [embed(d + '!') for d in docs]
o = sorted(docs, key=embed)
## loop in a function | - | REFUSED --steps
def run(ds):
    return [embed(d) for d in ds]
o = run(docs)
## loop in a function, named | o | --steps embed
def run(ds):
    return [embed(d) for d in ds]
o = run(docs)
## numpy in place | X i d
X = np.zeros((20, 2))
for i, d in enumerate(docs):
    X[i] = embed(d)
## numpy's own generator in a step | o aft
np.random.seed(1)
def jit(d):
    return embed(d)[0] + np.random.rand()
o = [jit(d) for d in docs]
aft = np.random.rand()
## generator as an argument | o aft
rng = np.random.default_rng(0)
def jit(d, rng):
    return embed(d)[0] + rng.random()
o = [jit(d, rng) for d in docs]
aft = rng.random()
## the same object returned | o
A = [1]
def same(d):
    embed(d)
    return A
o = [same(d) for d in docs]
## process pool | o | +2
with ProcessPoolExecutor(2) as ex:
    o = list(ex.map(embed, docs))
## joblib threads | o | +2
from joblib import Parallel, delayed
o = Parallel(n_jobs=2, backend='threading')(delayed(embed)(d) for d in docs)
## joblib processes | o | +2
from joblib import Parallel, delayed
o = Parallel(n_jobs=2)(delayed(embed)(d) for d in docs)
## groupby apply | o
df = pd.DataFrame({"g": [i % 5 for i in range(20)], "t": docs})
o = df.groupby("g").t.apply(lambda s: embed("".join(s))[1])
## no calls at all | - | REFUSED --steps
t = 0
for d in docs:
    t += len(d) * 2
## del and reuse | o i x
o = []
for i in range(20):
    x = embed(docs[i])
    o.append(x)
    del x
## task group | o | +2
async def f(u):
    await asyncio.sleep(0.001)
    return embed(u)
async with asyncio.TaskGroup() as tg:
    ts = [tg.create_task(f(u)) for u in docs]
o = [t.result() for t in ts]
## as_completed | o | +3
o = {}
with ThreadPoolExecutor(3) as ex:
    fs = {ex.submit(embed, d): d for d in docs}
    for f in as_completed(fs):
        o[fs[f]] = f.result()
o = dict(sorted(o.items()))
""")
