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
## step that puts its argument into a global | rows index | SAME index
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
## list slice returned, then changed | X
X = np.zeros((20, 2))
def row(X, i):
    embed(docs[i])
    return X[i]
for i in range(20):
    row(X, i)[:] = i + 1
## view assigned then changed | X
X = np.zeros((20, 2))
def row(X, i):
    embed(docs[i])
    return X[i]
for i in range(20):
    r = row(X, i)
    r += i
## chat history returned | out history
history = []
def chat(message):
    history.append(embed(message)[1])
    return history
out = []
for d in docs:
    out.append(chat(d))
## large list of a global filled by place | results | ANNOUNCED `results`
results = [None] * 3000
def work(i):
    results[i] = embed(docs[i])
for i in range(20):
    work(i)
results = results[:20]
## large dict of a global updated | table | ANNOUNCED `table`
table = {f"k{i}": 0 for i in range(3000)}
def work(i):
    table[f"k{i}"] = embed(docs[i])[1]
for i in range(20):
    work(i)
table = {k: v for k, v in table.items() if v}
## large array of a global filled | X | ANNOUNCED `X`
X = np.zeros((20000, 2))
def work(i):
    X[i] = embed(docs[i])
for i in range(20):
    work(i)
X = X[:20]
## large table of a global filled | df | ANNOUNCED `df`
df = pd.DataFrame({"v": np.zeros(20000)})
def work(i):
    df.loc[i, "v"] = float(embed(docs[i])[1])
for i in range(20):
    work(i)
df = df.head(20)
## stats with a lock | out n
class Stats:
    def __init__(self):
        self.lock = threading.Lock()
        self.n = 0
stats = Stats()
def work(d):
    v = embed(d)
    with stats.lock:
        stats.n += 1
    return v
out = [work(d) for d in docs]
n = stats.n
## dict with a lock and a counter | out n
state = {"lock": threading.Lock(), "n": 0}
def work(d):
    with state["lock"]:
        state["n"] += 1
    return embed(d)
out = [work(d) for d in docs]
n = state["n"]
## alias into a global dict | good stats
stats = {"good": {"n": 0}, "bad": {"n": 0}}
good = stats["good"]
def work(d):
    v = embed(d)
    stats["good" if v[1] % 2 else "bad"]["n"] += 1
    return v
out = [work(d) for d in docs]
## alias of a list in a global object | seen out
class State:
    def __init__(self):
        self.seen = []
state = State()
seen = state.seen
def work(d):
    state.seen.append(d)
    return embed(d)
out = [work(d) for d in docs]
## rows of a global changed while looped over | rows
rows = [{"t": d} for d in docs[:6]]
def enrich(i):
    rows[i]["v"] = embed(rows[i]["t"])[1]
for i, row in enumerate(rows):
    enrich(i)
    row["done"] = row["v"] + 1
## broad except around what cannot be saved | ok bad | REFUSED --replay fetch
def fetch(d):
    embed(d)
    return fakeai.Response([d])
ok, bad = [], []
for d in docs:
    try:
        r = fetch(d)
        ok.append(r.data[0])
    except Exception:
        bad.append(d)
## contextlib.suppress around what cannot be saved | ok | REFUSED --replay fetch
from contextlib import suppress
def fetch(d):
    embed(d)
    return fakeai.Response([d])
ok = []
for d in docs:
    with suppress(Exception):
        r = fetch(d)
        ok.append(r.data[0])
## random numbers in gathered coroutines | out after | ANNOUNCED random numbers | +1
random.seed(3)
async def work(d):
    await asyncio.sleep(0)
    return [embed(d), random.randint(0, 999)]
out = await asyncio.gather(*[work(d) for d in docs])
after = random.random()
## random numbers around a named inner step | out after | ANNOUNCED random numbers | --steps embed
random.seed(3)
def work(d):
    return [embed(d), random.randint(0, 999)]
out = [work(d) for d in docs]
after = random.random()
## retries that are counted | out retries | ANNOUNCED `tries`
tries = {}
def flaky(d):
    tries[d] = tries.get(d, 0) + 1
    if tries[d] < 2 and d.endswith("3"):
        raise ConnectionError(d)
    return embed(d)
out, retries = [], 0
for d in docs:
    for attempt in range(3):
        try:
            out.append(flaky(d))
            break
        except ConnectionError:
            retries += 1
## type(self) that counts | out n
class M:
    n = 0
    def enc(self, d):
        type(self).n += 1
        return embed(d)
m = M()
out = [m.enc(d) for d in docs]
n = M.n
## list of a class filled through self | out seen
class M:
    seen = []
    def enc(self, d):
        self.seen.append(d)
        return embed(d)
m = M()
out = [m.enc(d) for d in docs]
seen = M.seen
## context variable set by a step | out n | ANNOUNCED `count`
from contextvars import ContextVar
count = ContextVar("count", default=0)
def work(d):
    count.set(count.get() + 1)
    return embed(d)
out = [work(d) for d in docs]
n = count.get()
## database in memory filled by a step | n | ANNOUNCED `con`
con = sqlite3.connect(":memory:")
con.execute("create table t(a)")
def work(d):
    v = embed(d)
    con.execute("insert into t values (?)", [v[1]])
    return v
out = [work(d) for d in docs]
n = con.execute("select count(*) from t").fetchone()[0]
## queue filled by a step | n | ANNOUNCED `q`
import queue
q = queue.Queue()
def work(d):
    q.put(embed(d))
for d in docs:
    work(d)
n = q.qsize()
## own subclass of an array | out
class Vec(np.ndarray):
    pass
X = np.zeros(20).view(Vec)
def fill(X, i):
    X[i] = embed(docs[i])[1]
for i in range(20):
    fill(X, i)
out = np.asarray(X)
## workers of an asyncio queue, then another stage | out after | ANNOUNCED `out` | +3
q, out = asyncio.Queue(), {}
for d in docs[:5]:
    q.put_nowait(d)
async def aembed(d):
    await asyncio.sleep(0)
    return embed(d)
async def worker():
    while not q.empty():
        d = await q.get()
        out[d] = await aembed(d)
await asyncio.gather(*[worker() for _ in range(2)])
after = [embed(d) for d in docs]
## object with a function inside as a result | out | SAME makes a function | +8
class Rule:
    def __init__(self, d, f):
        self.d, self.f = d, f
scale = 1
def work(d):
    n = embed(d)[1]
    return Rule(d, lambda x: x * n * scale)
rules = [work(d) for d in docs]
scale = 3
out = [rule.f(2) for rule in rules]
## function deep inside of a result | out | SAME makes a function | +8
scale = 1
def work(d):
    n = embed(d)[1]
    return {"a": {"f": lambda x: x * n * scale}}
rules = [work(d) for d in docs]
scale = 3
out = [rule["a"]["f"](2) for rule in rules]
## defaultdict with a lambda | out | SAME makes a function | +8
from collections import defaultdict
base = 1
def work(d):
    return defaultdict(lambda: base, {d: embed(d)})
found = [work(d) for d in docs]
base = 2
out = [f["none"] for f in found]
## shared object of a cache changed by the cell | out
nodes = {}
def node(d):
    key = embed(d)[0]
    return nodes.setdefault(key, {"n": 0})
out = []
for d in docs:
    one = node(d)
    one["n"] += 1
    out.append(one["n"])
## code attribute of a function that is handed over | out
def apply(f, xs):
    return [f(*[x] * f.__code__.co_argcount) for x in xs]
out = apply(embed, docs)
## own list with an own iterator | b out
class Batch(list):
    def __iter__(self):
        return (f"<{x}>" for x in list.__iter__(self))
b = Batch(["a"])
def add(b, d):
    b.append(embed(d)[1])
for d in docs:
    add(b, d)
out = [b[i] for i in range(len(b))]
## own dict that counts its updates | d2 n
class D(dict):
    n = 0
    def __setitem__(self, k, v):
        D.n += 1
        dict.__setitem__(self, k, v)
    def update(self, other):
        for k, v in other.items():
            self[k] = v
d2 = D()
def add(d2, d):
    d2[d] = embed(d)
for d in docs:
    add(d2, d)
n = D.n
## tqdm updated by a step | n
from tqdm import tqdm
bar = tqdm(total=20)
def work(d):
    v = embed(d)
    bar.update(1)
    return v
out = [work(d) for d in docs]
n = bar.n
## state in an own object in an own dict, two names | a b
class Acc:
    def __init__(self):
        self.total = 0
accs = {"a": Acc(), "b": Acc()}
a, b = accs["a"], accs["b"]
def work(i):
    accs["a" if i % 2 else "b"].total += embed(docs[i])[1]
for i in range(20):
    work(i)
## global of a module of a library set by a step | out n
def work(d):
    fakeai.seen = getattr(fakeai, "seen", 0) + 1
    return embed(d)
out = [work(d) for d in docs]
n = fakeai.seen
## announcement of a stage that is finished before the kill | n | ANNOUNCED `n`
def counting():
    n = 0
    def work(d):
        nonlocal n
        n += 1
        return embed(d)
    return work, lambda: n
work, count = counting()
first = [work(d) for d in docs[:3]]
rest = [embed(d) for d in docs]
n = count()
## dict with a client and a counter | n
state = {"client": fakeai.Client(), "n": 0}
def ask(d):
    state["n"] += 1
    return state["client"].create(input=d).data[0].embedding
out = [ask(d) for d in docs]
n = state["n"]
## broad except, an argument without a value | ok bad | REFUSED Move what is done with one document into a function
class Job:
    def __init__(self, d):
        self.d, self.lock = d, threading.Lock()
def work(job):
    return embed(job.d)
ok, bad = [], []
for d in docs:
    job = Job(d)
    try:
        ok.append(work(job))
    except Exception:
        bad.append(d)
## fails in the first pass, works in the second | out | ANNOUNCED `calls` | +4
calls = {"n": 0}
def flaky(d):
    calls["n"] += 1
    if calls["n"] <= 3:
        raise ConnectionError(d)
    return embed(d)
out = []
for turn in range(5):
    for d in docs[:4]:
        try:
            out.append(flaky(d))
        except ConnectionError:
            out.append(None)
## global dict of own objects, updated through a local name | accs first
accs = {"x": {"n": 0, "tags": []}}
first = accs["x"]["tags"]
def work(d):
    one = accs["x"]
    one["n"] += 1
    one["tags"].append(embed(d)[1])
for d in docs:
    work(d)
## two steps share a lock object, threads | n out | ANNOUNCED `meter` | +3
class Meter:
    def __init__(self):
        self.lock, self.total = threading.Lock(), 0
    def add(self, x):
        with self.lock:
            self.total += x
meter = Meter()
def work(d):
    v = embed(d)
    meter.add(v[1])
    return v
with ThreadPoolExecutor(2) as ex:
    out = list(ex.map(work, docs))
n = meter.total
## token usage kept in a client wrapper of the notebook | out used
class LLM:
    def __init__(self):
        self.client, self.used = fakeai.Client(), 0
    def ask(self, d):
        v = self.client.create(input=d).data[0].embedding
        self.used += v[0]
        return v
llm = LLM()
def ask(d):
    return llm.ask(d)
out = [ask(d) for d in docs]
used = llm.used
## handler of logging that counts | n | ANNOUNCED logging handlers
import logging
class Counting(logging.Handler):
    n = 0
    def emit(self, record):
        self.n += 1
logger = logging.getLogger("attack")
handler = Counting()
logger.handlers[:] = [handler]
logger.propagate = False
def work(d):
    logger.warning("on %s", d)
    return embed(d)
out = [work(d) for d in docs]
n = handler.n
""")
