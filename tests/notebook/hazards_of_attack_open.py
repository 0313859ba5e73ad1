"""Idioms of real notebooks that a resumed run does not end as a plain one does; each moves to `hazards_of_attack` once it does.

The format is that of `hazards`. What they have in common is in the README, under what is not promised.
"""

from __future__ import annotations

from tests.notebook.hazards import parsed

OPEN = parsed(r"""
## A05 list slice returned, then changed | X
X = np.zeros((20, 2))
def row(X, i):
    embed(docs[i])
    return X[i]
for i in range(20):
    row(X, i)[:] = i + 1
## A06 view assigned then changed | X
X = np.zeros((20, 2))
def row(X, i):
    embed(docs[i])
    return X[i]
for i in range(20):
    r = row(X, i)
    r += i
## A07 chat history returned | out history
history = []
def chat(message):
    history.append(embed(message)[1])
    return history
out = []
for d in docs:
    out.append(chat(d))
## A09 large list of a global filled by place | results
results = [None] * 3000
def work(i):
    results[i] = embed(docs[i])
for i in range(20):
    work(i)
results = results[:20]
## A10 large dict of a global updated | table
table = {f"k{i}": 0 for i in range(3000)}
def work(i):
    table[f"k{i}"] = embed(docs[i])[1]
for i in range(20):
    work(i)
table = {k: v for k, v in table.items() if v}
## A11 large array of a global filled | X
X = np.zeros((20000, 2))
def work(i):
    X[i] = embed(docs[i])
for i in range(20):
    work(i)
X = X[:20]
## A12 large table of a global filled | df
df = pd.DataFrame({"v": np.zeros(20000)})
def work(i):
    df.loc[i, "v"] = float(embed(docs[i])[1])
for i in range(20):
    work(i)
df = df.head(20)
## A13 stats with a lock | out n
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
## A14 dict with a lock and a counter | out n
state = {"lock": threading.Lock(), "n": 0}
def work(d):
    with state["lock"]:
        state["n"] += 1
    return embed(d)
out = [work(d) for d in docs]
n = state["n"]
## A16 alias into a global dict | good stats
stats = {"good": {"n": 0}, "bad": {"n": 0}}
good = stats["good"]
def work(d):
    v = embed(d)
    stats["good" if v[1] % 2 else "bad"]["n"] += 1
    return v
out = [work(d) for d in docs]
## A17 alias of a list in a global object | seen out
class State:
    def __init__(self):
        self.seen = []
state = State()
seen = state.seen
def work(d):
    state.seen.append(d)
    return embed(d)
out = [work(d) for d in docs]
## A18 rows of a global changed while looped over | rows
rows = [{"t": d} for d in docs[:6]]
def enrich(i):
    rows[i]["v"] = embed(rows[i]["t"])[1]
for i, row in enumerate(rows):
    enrich(i)
    row["done"] = row["v"] + 1
## A19 broad except around what cannot be saved | ok bad
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
## A20 contextlib.suppress around what cannot be saved | ok
from contextlib import suppress
def fetch(d):
    embed(d)
    return fakeai.Response([d])
ok = []
for d in docs:
    with suppress(Exception):
        r = fetch(d)
        ok.append(r.data[0])
## A30 random numbers in gathered coroutines | out after | +1
random.seed(3)
async def work(d):
    await asyncio.sleep(0)
    return [embed(d), random.randint(0, 999)]
out = await asyncio.gather(*[work(d) for d in docs])
after = random.random()
## A31 random numbers around a named inner step | out after | --steps embed
random.seed(3)
def work(d):
    return [embed(d), random.randint(0, 999)]
out = [work(d) for d in docs]
after = random.random()
## A32 retries that are counted | out retries
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
## A34 type(self) that counts | out n
class M:
    n = 0
    def enc(self, d):
        type(self).n += 1
        return embed(d)
m = M()
out = [m.enc(d) for d in docs]
n = M.n
## A35 list of a class filled through self | out seen
class M:
    seen = []
    def enc(self, d):
        self.seen.append(d)
        return embed(d)
m = M()
out = [m.enc(d) for d in docs]
seen = M.seen
## A36 context variable set by a step | out n
from contextvars import ContextVar
count = ContextVar("count", default=0)
def work(d):
    count.set(count.get() + 1)
    return embed(d)
out = [work(d) for d in docs]
n = count.get()
## A37 handler of logging that counts | n
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
## A38 database in memory filled by a step | n
con = sqlite3.connect(":memory:")
con.execute("create table t(a)")
def work(d):
    v = embed(d)
    con.execute("insert into t values (?)", [v[1]])
    return v
out = [work(d) for d in docs]
n = con.execute("select count(*) from t").fetchone()[0]
## A39 queue filled by a step | n
import queue
q = queue.Queue()
def work(d):
    q.put(embed(d))
for d in docs:
    work(d)
n = q.qsize()
## A43 own subclass of an array | out
class Vec(np.ndarray):
    pass
X = np.zeros(20).view(Vec)
def fill(X, i):
    X[i] = embed(docs[i])[1]
for i in range(20):
    fill(X, i)
out = np.asarray(X)
## A45 cache left out of the pickled state | out n
class M:
    def __init__(self):
        self.name, self.n = "m", 0
    def __getstate__(self):
        return {"name": self.name}
    def __setstate__(self, state):
        self.__dict__.update(state, n=0)
    def enc(self, d):
        self.n += 1
        return embed(d)
m = M()
out = [m.enc(d) for d in docs]
n = m.n
## A46 workers of an asyncio queue, then another stage | out after | +3
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
## A51 object with a function inside as a result | out
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
## A52 function deep inside of a result | out
scale = 1
def work(d):
    n = embed(d)[1]
    return {"a": {"f": lambda x: x * n * scale}}
rules = [work(d) for d in docs]
scale = 3
out = [rule["a"]["f"](2) for rule in rules]
## A53 defaultdict with a lambda | out
from collections import defaultdict
base = 1
def work(d):
    return defaultdict(lambda: base, {d: embed(d)})
found = [work(d) for d in docs]
base = 2
out = [f["none"] for f in found]
## A55 shared object of a cache changed by the cell | out
nodes = {}
def node(d):
    key = embed(d)[0]
    return nodes.setdefault(key, {"n": 0})
out = []
for d in docs:
    one = node(d)
    one["n"] += 1
    out.append(one["n"])
## A57 code attribute of a function that is handed over | out
def apply(f, xs):
    return [f(*[x] * f.__code__.co_argcount) for x in xs]
out = apply(embed, docs)
## A58 function type is checked where it is handed over | out
import inspect
class Pipe:
    def __init__(self):
        self.fs = []
    def map(self, f):
        assert inspect.isfunction(f)
        self.fs.append(f)
        return self
    def run(self, xs):
        for f in self.fs:
            xs = [f(x) for x in xs]
        return xs
out = Pipe().map(embed).run(docs)
## A62 own list with an own iterator | b out
class Batch(list):
    def __iter__(self):
        return (f"<{x}>" for x in list.__iter__(self))
b = Batch(["a"])
def add(b, d):
    b.append(embed(d)[1])
for d in docs:
    add(b, d)
out = [b[i] for i in range(len(b))]
## A63 own dict that counts its updates | d2 n
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
## A84 tqdm updated by a step | n
from tqdm import tqdm
bar = tqdm(total=20)
def work(d):
    v = embed(d)
    bar.update(1)
    return v
out = [work(d) for d in docs]
n = bar.n
## A91 result that holds two views of one array | out
def work(i):
    embed(docs[i])
    X = np.arange(4.0) + i
    return X, X[:2]
out = []
for i in range(20):
    X, head = work(i)
    X += 1
    out.append(head.tolist())
## A95 state in an own object in an own dict, two names | a b
class Acc:
    def __init__(self):
        self.total = 0
accs = {"a": Acc(), "b": Acc()}
a, b = accs["a"], accs["b"]
def work(i):
    accs["a" if i % 2 else "b"].total += embed(docs[i])[1]
for i in range(20):
    work(i)
## A98 global of a module of a library set by a step | out n
def work(d):
    fakeai.seen = getattr(fakeai, "seen", 0) + 1
    return embed(d)
out = [work(d) for d in docs]
n = fakeai.seen
## B01 announcement of a stage that is finished before the kill | n
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
## B02 failed ones again at the end | out failed
random.seed(3)
def flaky(d):
    if random.random() < 0.4:
        raise ConnectionError(d)
    return embed(d)
out, failed = {}, []
for d in docs[:6]:
    try:
        out[d] = flaky(d)
    except ConnectionError:
        failed.append(d)
again = list(failed)
while again:
    d = again.pop()
    try:
        out[d] = flaky(d)
    except ConnectionError:
        again.append(d)
for d in docs:
    v = embed(d)
## B03 dict with a client and a counter | n
state = {"client": fakeai.Client(), "n": 0}
def ask(d):
    state["n"] += 1
    return state["client"].create(input=d).data[0].embedding
out = [ask(d) for d in docs]
n = state["n"]
## B11 broad except, an argument without a value | ok bad
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
## C02 fails in the first pass, works in the second | out
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
## C04 global dict of own objects, updated through a local name | accs first
accs = {"x": {"n": 0, "tags": []}}
first = accs["x"]["tags"]
def work(d):
    one = accs["x"]
    one["n"] += 1
    one["tags"].append(embed(d)[1])
for d in docs:
    work(d)
## C05 two steps share a lock object, threads | n out | +3
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
## C07 token usage kept in a client wrapper of the notebook | out used
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
""")
