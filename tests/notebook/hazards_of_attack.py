"""Idioms of real notebooks, found by attacking: what a resumed run could get wrong, and does not.

The format is that of `hazards`.
"""

from __future__ import annotations

from tests.notebook.hazards import parsed

OF_ATTACK = parsed(r"""
## global singleton returned and changed | store
class Store:
    def __init__(self):
        self.items = []
store = Store()
def add(d):
    store.items.append(embed(d)[1])
    return store
for d in docs:
    s = add(d)
    s.last = d
## lazy client in a global | out
_client = None
def get(d):
    global _client
    if _client is None:
        _client = fakeai.Client()
    return _client.create(input=d).data[0].embedding
out = [get(d) for d in docs]
## builder with a counter in a closure | out
def numbering():
    n = 0
    def number(d):
        nonlocal n
        n += 1
        return f"{n}: {d}"
    return number
number = numbering()
out = [embed(number(d)) for d in docs]
## builder with a list as default | out
def number(d, seen=[]):
    seen.append(d)
    return f"{len(seen)}: {d}"
out = [embed(number(d)) for d in docs]
## builder with an attribute of itself | out n
def number(d):
    number.n += 1
    return f"{number.n}: {d}"
number.n = 0
out = [embed(number(d)) for d in docs]
n = number.n
## key function that counts inside of the arguments | out n | REFUSED sort by those
n = 0
def key(w):
    global n
    n += 1
    return w
def join(words):
    return " ".join(words)
out = []
for d in docs:
    out.append(embed(join(sorted(d.split(), key=key))))
## objects in a set | nodes
class Node:
    def __init__(self, d):
        self.d, self.v = d, 0
nodes = [Node(d) for d in docs]
def fill(group):
    for node in group:
        node.v += embed(node.d)[1]
for node in nodes:
    fill({node})
## shared dict as an argument of coroutines | out | +3
async def work(d, found):
    await asyncio.sleep(0)
    found[d] = embed(d)
out = {}
await asyncio.gather(*[work(d, out) for d in docs])
## surrogates and zero bytes | out | SAME
odd = [f"\ud800 {i} \x00" for i in range(20)]
def work(d):
    embed(ascii(d))
    return d[::-1]
out = [work(d) for d in odd]
out = [ascii(x) for x in out]
## named tuples and enums of the cell | out
from typing import NamedTuple
from enum import IntFlag
class F(IntFlag):
    A = 1
    B = 2
class P(NamedTuple):
    d: str
    f: F
def work(d):
    return P(d, F.A | F.B if embed(d)[1] % 2 else F.A)
found = [work(d) for d in docs]
out = [[p.d, p.f.name, type(p) is P, p.f is F.A] for p in found]
## callable object handed to map | out n
class Enc:
    def __init__(self):
        self.n = 0
    def __call__(self, d):
        self.n += 1
        return embed(d)
enc = Enc()
first = [embed(d) for d in docs]
out = list(map(enc, docs))
n = enc.n
## decorated twice with wraps | out n
from functools import wraps
n = 0
def counted(f):
    @wraps(f)
    def inner(*a, **k):
        global n
        n += 1
        return f(*a, **k)
    return inner
@counted
def work(d, *, k=1):
    return [embed(d), k]
out = [work(d, k=i) for i, d in enumerate(docs)]
## OrderedDict moved by a step | c
from collections import OrderedDict
c = OrderedDict((d, 0) for d in docs[:5])
def touch(c, d):
    c[d] = embed(d)[1]
    c.move_to_end(d, last=False)
for d in docs:
    touch(c, d)
## frozen dataclass replaced | out cur
from dataclasses import dataclass, replace
@dataclass(frozen=True)
class S:
    n: int = 0
    seen: tuple = ()
def step_(s, d):
    return replace(s, n=s.n + 1, seen=(*s.seen, embed(d)[1]))
cur = S()
out = []
for d in docs:
    cur = step_(cur, d)
    out.append(cur.n)
## property setter | box out
class Box:
    def __init__(self):
        self._v, self.sets = 0, 0
    @property
    def v(self):
        return self._v
    @v.setter
    def v(self, x):
        self.sets += 1
        self._v = x
box = Box()
def work(d):
    box.v = embed(d)[1]
    return box.v
out = [work(d) for d in docs]
box.v = out[-1]
## odd values | out
from decimal import Decimal
from datetime import datetime, timezone, timedelta
from zoneinfo import ZoneInfo
from fractions import Fraction
odd = [None, float("inf"), -0.0, 2**200, -(2**64), Decimal("1.10"), Fraction(1, 3), datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1),
       datetime.now(timezone.utc).replace(year=2000, month=1, day=1, hour=0, minute=0, second=0, microsecond=1), timedelta(days=-1), b"\x00\xff", "", (), {}, frozenset({1}), range(3), slice(1, 2), complex(0, -1), Ellipsis, NotImplemented]
def work(x):
    embed(ascii(x))
    return [x]
out = [repr(work(x)[0]) for x in odd]
out2 = [repr(work(x)) for x in odd]
## results in numpy and pandas of many kinds | out
def work(d):
    n = embed(d)[1]
    return [np.float32(n), np.array([[n]], dtype="<U5"), np.ma.masked_array([n, 1], [0, 1]), pd.Timestamp(n, unit="D", tz="UTC"), pd.Categorical(["a", "b"]), pd.NA, pd.NaT, pd.Interval(0, n), np.datetime64(n, "D")]
out = [[repr(x) for x in work(d)] for d in docs]
## polars map | out
import polars as pl
df = pl.DataFrame({"t": docs})
out = df["t"].map_elements(lambda t: embed(t)[1], return_dtype=pl.Int64).to_list()
## polars rows and with_columns | out
import polars as pl
df = pl.DataFrame({"t": docs})
found = []
for row in df.iter_rows(named=True):
    found.append(embed(row["t"])[1])
out = df.with_columns(pl.Series("v", found)).to_dict(as_series=False)
## itertools batches from one iterator | out | +2
it = iter(docs)
out = []
def work(batch):
    return [embed(d) for d in batch]
while batch := list(itertools.islice(it, 3)):
    out.append(work(batch))
## step that takes the iterator itself | out | +20
it = iter(docs)
def work(it, n):
    return [embed(d) for d in itertools.islice(it, n)]
first = [embed(d) for d in docs]
out = []
for _ in range(5):
    out.append(work(it, 2))
rest = list(it)
## bare except and finally | out n
out, n = [], 0
for d in docs:
    try:
        if d.endswith("7"):
            raise ValueError(d)
        out.append(embed(d))
    except:
        out.append(None)
        continue
    finally:
        n += 1
## errors kept as results | out | +12
def work(d):
    v = embed(d)
    if v[1] % 3 == 0:
        raise ValueError(f"bad {d}")
    return v
async def awork(d):
    await asyncio.sleep(0)
    return work(d)
out = [r if not isinstance(r, Exception) else [type(r).__name__, str(r)] for r in await asyncio.gather(*map(awork, docs), return_exceptions=True)]
## model set anew in the loop | out
out = []
for k in range(4):
    model = fakeai.Generator(k)
    for d in docs[:5]:
        out.append([embed(d), model.random()])
after = model.random()
## the same function at two sites, one in a condition | out
out = []
for d in docs:
    if embed(d)[1] > 10:
        out.append(embed(d)[0])
    else:
        out.append(embed(d))
## duplicates | out n
n = 0
def work(d):
    global n
    n += 1
    return [n, embed(d)]
out = [work(d) for d in ["a", "b", "a", "a", "b"] * 4]
## swap and in-place sort of results | out rows
rows = []
for d in docs:
    rows.append(embed(d))
    rows.sort()
    rows[0], rows[-1] = rows[-1], rows[0]
out = [r for r in rows if r in rows[:5]]
## augmented assignments | out total best
out, total, best = {}, 0, None
for d in docs:
    total += embed(d)[1]
    out[d] = out.get(d, 0) + embed(d + "x")[1]
    out[d] *= 2
    best = max(best or 0, embed(d + "y")[1])
## dict changed by keys while stepping | todo done
todo, done = {d: i for i, d in enumerate(docs)}, {}
while todo:
    d, i = todo.popitem()
    done[d] = embed(d), i
    if i % 5 == 0 and i:
        todo[d + "!"] = i - 1
## exit stack and nested managers | out log | REFUSED --replay open_
from contextlib import ExitStack, contextmanager
log = []
@contextmanager
def open_(d):
    log.append(f"in {d}")
    yield d
    log.append(f"out {d}")
out = []
with ExitStack() as stack:
    for d in docs:
        t = stack.enter_context(open_(d))
        out.append(embed(t))
## list grown by closures over nonlocal | out | ANNOUNCED seen
def run():
    seen = []
    def work(d):
        nonlocal seen
        seen = [*seen, d]
        return [len(seen), embed(d)]
    return work
work = run()
out = [work(d) for d in docs]
## class hierarchy with super | out n
class A:
    def __init__(self):
        self.n = 0
    def enc(self, d):
        self.n += 1
        return embed(d)
class B(A):
    def enc(self, d):
        return [*super().enc(d), self.n]
b = B()
out = [b.enc(d) for d in docs]
n = b.n
## tqdm | out n
from tqdm import tqdm
bar = tqdm(docs, disable=None)
out = []
for d in bar:
    out.append(embed(d))
    bar.set_postfix(n=len(out))
n = bar.n
## asyncio semaphore in the step | out | +3
sem = asyncio.Semaphore(3)
async def work(d):
    async with sem:
        await asyncio.sleep(0)
        return embed(d)
out = await asyncio.gather(*(work(d) for d in docs))
## wait_for and create_task | out | +3
async def work(d):
    await asyncio.sleep(0)
    return embed(d)
tasks = [asyncio.create_task(work(d), name=d) for d in docs]
out = [await asyncio.wait_for(t, 5) for t in tasks]
## futures as dict values in threads with a lock | found n | ANNOUNCED found | +3
found, lock = {}, threading.Lock()
def work(d):
    v = embed(d)
    with lock:
        found[d] = v
    return v
with ThreadPoolExecutor(3) as ex:
    out = list(ex.map(work, docs))
n = len(found)
## groupby transform and agg | out
df = pd.DataFrame({"g": [i % 5 for i in range(20)], "t": docs})
df["v"] = df.groupby("g")["t"].transform(lambda s: embed("".join(s))[1])
df["w"] = df.apply(lambda r: embed(r["t"])[1] + r["g"], axis=1)
out = df
## pandas inplace in the loop | df
df = pd.DataFrame({"t": docs, "v": np.nan})
for i in df.index:
    df.at[i, "v"] = embed(df.at[i, "t"])[1]
    df.sort_values("v", inplace=True)
    df.fillna({"v": -1}, inplace=True)
df.reset_index(drop=True, inplace=True)
## views of one result | a b
def work(i):
    embed(docs[i])
    return np.arange(6.0).reshape(2, 3) + i
parts = [work(i) for i in range(20)]
b = [p[0] for p in parts]
for p in parts:
    p *= 2
a = parts
## generator that calls steps, consumed partly | out
def pages():
    for d in docs * 3:
        yield d.upper()
g = pages()
out = []
for page in g:
    out.append(embed(page))
    next(g)
    if len(out) == 20:
        break
left = next(g)
## step in an async comprehension with a filter | out
async def work(d):
    await asyncio.sleep(0)
    return embed(d)
out = {d: v for d in docs if (v := await work(d))[1] % 2}
## globals between loops, large table | out
table = {i: 1 for i in range(3000)}
def work(d):
    return embed(d)[1] * table[5]
out = [work(d) for d in docs[:10]]
table[5] = 2
out += [work(d) for d in docs[:10]]
## step that puts its argument into a global | rows index | ANNOUNCED index
rows = [{"t": d} for d in docs]
index = {}
def work(row):
    index[row["t"]] = row
    return embed(row["t"])
for row in rows:
    row["v"] = work(row)
## step that rebinds a global to a new object | df n
df = pd.DataFrame({"t": ["first"], "v": [1]})
def add(d):
    global df
    df = pd.concat([df, pd.DataFrame({"t": [d], "v": [embed(d)[1]]})], ignore_index=True)
for d in docs:
    add(d)
n = len(df)
## dict.fromkeys with results and del | out keys
out = dict.fromkeys(docs)
for d in list(out):
    out[d] = embed(d)
    if out[d][1] % 2:
        del out[d]
keys = list(out)
## builder that reads an own object, changed in the loop | out
class Cfg:
    def __init__(self):
        self.sep = "-"
cfg = Cfg()
def clean(d):
    return cfg.sep.join(d.split())
out = []
for i, d in enumerate(docs):
    cfg.sep = str(i % 3)
    out.append(embed(clean(d)))
## generator of numpy made with a seed, in a builder | out
rng = np.random.default_rng(0)
def aug(d):
    return f"{d} {rng.integers(1000)}"
out = [embed(aug(d)) for d in docs]
## stateful object in the cell, method as builder | out n
class Num:
    def __init__(self):
        self.n = 0
    def tag(self, d):
        self.n += 1
        return f"{self.n} {d}"
num = Num()
out = [embed(num.tag(d)) for d in docs]
n = num.n
## global list of own class emptied by a step | out batch | +2
batch, out = [], []
def flush():
    global batch
    found = [embed(d)[1] for d in batch]
    batch = []
    return found
for d in docs:
    batch.append(d)
    if len(batch) == 2:
        out += flush()
## global list cleared in place by a step | out batch | +2
batch, out = [], []
def flush():
    found = [embed(d)[1] for d in batch]
    batch.clear()
    return found
for d in docs:
    batch.append(d)
    if len(batch) == 2:
        out += flush()
## own method of an object with a lock, called in the loop | n out
class Meter:
    def __init__(self):
        self.lock, self.total = threading.Lock(), 0
    def add(self, d):
        with self.lock:
            self.total += embed(d)[1]
        return self.total
meter = Meter()
out = [meter.add(d) for d in docs]
n = meter.total
## whole form on a method that counts | out n
class M:
    def __init__(self):
        self.n = 0
    def enc(self, d):
        self.n += 1
        return {"v": embed(d)}
m = M()
out = [m.enc(d).get("v", d) for d in docs]
n = m.n
## builder that draws from numpy | out
np.random.seed(3)
def aug(d):
    return f"{d} {np.random.randint(1000)}"
out = []
for d in docs:
    out.append(embed(aug(d)))
after = np.random.randint(1000)
## builder that draws by an imported name | out after
from random import randint
random.seed(3)
def aug(d):
    return f"{d} {randint(0, 1000)}"
out = []
for d in docs:
    out.append(embed(aug(d)))
after = randint(0, 1000)
## builder with a random object of a library | out after
rng = fakeai.Generator(7)
def aug(d):
    return f"{d} {rng.random() % 1000}"
out = [embed(aug(d)) for d in docs]
after = rng.random()
## counting function inside of the arguments | out n
n = 0
def word(w):
    global n
    n += 1
    return w.upper()
def join(words):
    return " ".join(words)
out = []
for d in docs:
    out.append(embed(join(map(word, d.split()))))
## pydantic fields set by a step | out
from pydantic import BaseModel
class Page(BaseModel):
    text: str
    vector: list[int] | None = None
pages = [Page(text=d) for d in docs]
def fill(page):
    page.vector = embed(page.text)
for page in pages:
    fill(page)
out = [page.model_dump(exclude_unset=True) for page in pages]
## pydantic private attributes set by a step | out
from pydantic import BaseModel, PrivateAttr
class Page(BaseModel):
    text: str
    _v: int = PrivateAttr(default=0)
pages = [Page(text=d) for d in docs]
def fill(page):
    page._v = embed(page.text)[1]
for page in pages:
    fill(page)
out = [page._v for page in pages]
## dict and slots in one object | out
class Base:
    __slots__ = ("v",)
class Page(Base):
    def __init__(self, d):
        self.d, self.v = d, 0
pages = [Page(d) for d in docs]
def fill(page):
    page.v = embed(page.d)[1]
for page in pages:
    fill(page)
out = [page.v for page in pages]
## whole form that changes its argument | rows out
rows = [{"text": d} for d in docs]
def enrich(row):
    row["vector"] = embed(row["text"])
    return row
out = [enrich(row).get("vector", row["text"]) for row in rows]
## partial in submit, more than 32 | out | +3
from functools import partial
many = docs + [f"more {i}" for i in range(20)]
with ThreadPoolExecutor(2) as ex:
    fs = [ex.submit(partial(embed, d)) for d in many]
out = [f.result() for f in fs]
## builders in turn, the second draws | out
from random import randint
random.seed(1)
def plain(d):
    return d.upper()
def noisy(d):
    return f"{d} {randint(0, 999)}"
out = []
for make in (plain, noisy):
    for d in docs[:3] if make is plain else docs[:17]:
        out.append(embed(make(d)))
## tuple with the argument in it | rows
rows = [{"text": d} for d in docs]
def score(row):
    return row, embed(row["text"])[1]
for row in rows:
    same, value = score(row)
    same["score"] = value
## parts of an argument picked and changed | rows
rows = [{"text": d, "k": i % 4} for i, d in enumerate(docs)]
def pick(rows, i):
    embed(docs[i])
    return [row for row in rows if row["k"] == i % 4]
for i in range(20):
    for row in pick(rows, i):
        row["seen"] = row.get("seen", 0) + 1
## self in a dict returned | out
class Agent:
    def __init__(self):
        self.log = []
    def act(self, d):
        v = embed(d)
        self.log.append(v[1])
        return {"agent": self, "v": v}
agent = Agent()
out = []
for d in docs:
    found = agent.act(d)
    found["agent"].last = d
    out.append(found["v"])
last = agent.last
## pairs kept, rows changed at the end | pairs
rows = [{"text": d} for d in docs]
def score(row):
    return {"row": row, "v": embed(row["text"])[1]}
pairs = [score(row) for row in rows]
for i, row in enumerate(rows):
    row["rank"] = i
## slice of rows returned and filled | rows
rows = [{"text": d} for d in docs]
def chunk(rows, i):
    embed(rows[i]["text"])
    return rows[i : i + 1]
for i in range(20):
    for row in chunk(rows, i):
        row["done"] = i
## partial in run_in_executor, many | out | +6
from functools import partial
loop = asyncio.get_running_loop()
many = docs + [f"more {i}" for i in range(20)]
out = await asyncio.gather(*[loop.run_in_executor(None, partial(embed, d)) for d in many])
""")
