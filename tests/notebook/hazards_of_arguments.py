"""Cells whose steps change what they are given, or return it, which a resumed run could get wrong.

The format is that of `hazards`.
"""

from __future__ import annotations

from tests.notebook.hazards import parsed

OF_ARGUMENTS = parsed(r"""
## random object of a library as an argument | out after
rng = fakeai.Generator(7)
def work(d, rng):
    return [rng.random(), embed(d)]
out = [work(d, rng) for d in docs]
after = rng.random()
## a step that returns its argument | rows out
rows = [{"text": d} for d in docs]
def enrich(row):
    row["vector"] = embed(row["text"])
    return row
out = []
for row in rows:
    out.append(enrich(row))
## a returned argument changed afterwards | rows out
rows = [{"text": d} for d in docs]
def enrich(row):
    row["vector"] = embed(row["text"])
    return row
out = []
for row in rows:
    enriched = enrich(row)
    enriched["done"] = True
    out.append(enriched)
## a method that returns its object | builder b
class Builder:
    def __init__(self):
        self.parts = []
    def add(self, d):
        self.parts.append(embed(d))
        return self
builder = Builder()
for d in docs:
    b = builder.add(d)
    b.last = d
## change deep inside an argument | corpus out
corpus = {"pages": [{"text": d, "meta": {"tags": []}} for d in docs]}
def tag(corpus, i):
    vector = embed(corpus["pages"][i]["text"])
    corpus["pages"][i]["meta"]["tags"].append(vector[1])
    return vector[0]
out = [tag(corpus, i) for i in range(len(docs))]
## part of an argument, held elsewhere too | rows first
rows = [{"text": d, "tags": []} for d in docs]
first = rows[0]["tags"]
def tag(row, others):
    others[0]["tags"].append(embed(row["text"])[1])
for row in rows:
    tag(row, rows)
## queue that a step takes from | out queue
queue = list(docs)
def take(queue):
    return embed(queue.pop(0))
out = []
while queue:
    out.append(take(queue))
## table changed in place | df n
df = pd.DataFrame({"t": docs, "v": [0.0] * len(docs)})
def fill(df, i):
    df.loc[i, "v"] = float(embed(df.loc[i, "t"])[1])
for i in range(len(docs)):
    fill(df, i)
n = df.v.sum()
## column added in place | parts
parts = [pd.DataFrame({"t": [d]}) for d in docs]
def widen(part):
    part["v"] = [embed(t)[1] for t in part["t"]]
for part in parts:
    widen(part)
## numpy view changed in place | X
X = np.zeros((20, 2))
def fill(row, d):
    row[:] = embed(d)
for i, d in enumerate(docs):
    fill(X[i], d)
## whole array changed in place | X out
X = np.zeros((20, 2))
def fill(X, i):
    X[i] = embed(docs[i])
    return X.sum()
out = [fill(X, i) for i in range(20)]
## part of an argument returned and changed | rows
rows = [{"text": d, "tags": []} for d in docs]
def tags(row):
    embed(row["text"])
    return row["tags"]
for row in rows:
    tags(row).append(1)
for row in rows:
    found = tags(row)
    found.append(2)
## arguments changed in a pool | rows | +3
rows = [{"text": d} for d in docs]
def enrich(row):
    row["vector"] = embed(row["text"])
with ThreadPoolExecutor(3) as ex:
    list(ex.map(enrich, rows))
## table that loses rows | df
df = pd.DataFrame({"t": docs, "v": 1.5}, index=[f"i{k}" for k in range(20)])
def drop(df, d):
    if embed(d)[1] % 2:
        df.drop(df.index[df.t == d], inplace=True)
for d in docs:
    drop(df, d)
## table that gains rows | df
df = pd.DataFrame({"t": ["first"], "v": [1]})
def add(df, d):
    df.loc[len(df)] = [d, embed(d)[1]]
for d in docs:
    add(df, d)
## series that grows | s
s = pd.Series([0], index=["start"])
def add(s, d):
    s.loc[d] = embed(d)[1]
for d in docs:
    add(s, d)
## index of a library as an argument | items
ix = fakeai.Index()
def work(ix, d):
    ix.add(embed(d))
for d in docs:
    work(ix, d)
items = ix.items
## tuple with a list inside | out pairs
pairs = [(d, []) for d in docs]
def work(pair):
    pair[1].append(embed(pair[0]))
    return len(pair[1])
out = [work(p) for p in pairs]
## object with slots | - | REFUSED return the new value instead
class P:
    __slots__ = ("d", "v")
    def __init__(self, d):
        self.d, self.v = d, None
ps = [P(d) for d in docs]
def work(p):
    p.v = embed(p.d)
for p in ps:
    work(p)
## counter and defaultdict | c g
from collections import Counter, defaultdict
c, g = Counter(), defaultdict(list)
def work(d, c, g):
    v = embed(d)
    c[v[0]] += 1
    g[v[1] % 3].append(d)
for d in docs:
    work(d, c, g)
## object shared by two arguments | a b
a = {"n": []}
b = {"of": a}
def work(a, b, d):
    a["n"].append(embed(d)[1])
    return b["of"] is a
out = [work(a, b, d) for d in docs]
a["end"] = 1
## columns renamed and inserted in place | df
df = pd.DataFrame({"t": docs, "v": range(20)})
def turn(df, i):
    embed(docs[i])
    df.columns = [f"t{i}", *df.columns[1:]]
    df.insert(1, f"x{i}", i)
for i in range(20):
    turn(df, i)
## large array filled in place | total | SAME all they hold is saved after each call (2 MB)
big = np.zeros(200_000)
def work(big, i):
    big[i] = embed(docs[i])[1]
for i in range(20):
    work(big, i)
total = float(big.sum())
""")
