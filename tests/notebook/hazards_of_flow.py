"""Cells whose calls stand at odd places: control flow that a resumed run could get wrong.

The format is that of `hazards`.
"""

from __future__ import annotations

from tests.notebook.hazards import parsed

OF_FLOW = parsed(r"""
## lock inside an argument | out | REFUSED Move what is done with one document into a function
jobs = [{"text": d, "lock": threading.Lock()} for d in docs]
def work(job):
    return embed(job["text"])
out = [work(job) for job in jobs]
## property that gives the next client | out asked
class Client:
    def __init__(self, key):
        self.key = key
    def ask(self, d):
        return self.key, embed(d)
class Pool:
    def __init__(self):
        self.clients, self.asked = [Client("a"), Client("b"), Client("c")], 0
    @property
    def client(self):
        self.asked += 1
        return self.clients[self.asked % 3]
pool = Pool()
out = [pool.client.ask(d) for d in docs]
out += [text.map(pool.client.ask) for text in map(pd.Series, ([d] for d in docs))]
asked = pool.asked
## iterator as a result | out
def work(d):
    return map(str, embed(d))
out = [list(work(d)) + [w for w in work(d)] for d in docs]
## max by a step | - | REFUSED Compute them first
best = max(docs, key=embed)
## list.sort by a step | - | REFUSED Compute them first
docs.sort(key=embed)
## max by a lambda around a step | - | REFUSED --steps embed
best = max(docs, key=lambda d: embed(d)[1])
## exec in the loop | - | REFUSED --steps
for d in docs:
    exec("v = embed(d)")
## function made by exec | out
exec("def work(d):\n    return embed(d)")
out = [work(d) for d in docs]
## context manager in the loop | out opened
from contextlib import contextmanager
opened = []
@contextmanager
def page(d):
    opened.append(d)
    yield d.upper()
out = []
for d in docs:
    with page(d) as text:
        out.append(embed(text))
## async with in the loop | out opened
from contextlib import asynccontextmanager
opened = []
@asynccontextmanager
async def page(d):
    opened.append(d)
    yield d.upper()
async def aembed(text):
    return embed(text)
out = []
for d in docs:
    async with page(d) as text:
        out.append(await aembed(text))
## async generator and async for | out
async def pages():
    for d in docs:
        await asyncio.sleep(0)
        yield d
async def aembed(text):
    return embed(text)
out = [await aembed(d) async for d in pages()]
## function inside a function of the cell | out
def outer(d):
    def inner(text):
        return embed(text)
    return [inner(d), d]
out = [outer(d) for d in docs]
## function defined anew in every iteration | out
out = []
for k in range(3):
    def work(d):
        return [embed(d), k]
    for d in docs[:7]:
        out.append(work(d))
## lambda defined anew in every iteration | out
out = []
for d in docs:
    work = lambda text: [embed(text), len(d)]
    out.append(work(d))
## function replaced half-way | out
def work(d):
    return embed(d)
out = [work(d) for d in docs[:10]]
def work(d):
    return embed(d.upper())
out += [work(d) for d in docs[:10]]
## constant changed between two loops | out
scale = 1
def work(d):
    return embed(d)[1] * scale
out = [work(d) for d in docs[:10]]
scale = 2
out += [work(d) for d in docs[:10]]
## lines of a file | out line
with open("lines.txt", "w") as f:
    f.writelines(f"{d}\n" for d in docs)
out = []
for line in open("lines.txt"):
    out.append(embed(line.strip()))
## file whose content changes | out
def count(path):
    with open(path) as f:
        text = f.read()
    return [text, embed(text)]
out = []
for d in docs:
    with open("page.txt", "w") as f:
        f.write(d)
    out.append(count("page.txt"))
## zip of generators | out pair
out = []
for pair in zip((d.upper() for d in docs), (embed(d) for d in docs)):
    out.append([embed(pair[0]), pair[1]])
## interrupt inside a step | out bad | +4
def work(d):
    if d.endswith("3"):
        raise KeyboardInterrupt
    return embed(d)
out, bad = [], []
for d in docs:
    try:
        out.append(work(d))
    except KeyboardInterrupt:
        bad.append(d)
## recursion | out | +2
def tree(d, depth):
    return embed(d) if not depth else [tree(d + "l", depth - 1), tree(d + "r", depth - 1)]
out = [tree(d, 1) for d in docs]
## time as an argument | out | SAME none of the saved results was used | +8
def stamp(d, when):
    return embed(d) if when else None
out = [stamp(d, time.time()) for d in docs]
## max by a lambda, named | best | --steps embed
best = max(docs, key=lambda d: embed(d)[1])
## loop condition that calls | out page
def fetch(n):
    return embed(docs[n]) if n < len(docs) else None
out = []
while (page := fetch(len(out))) is not None:
    out.append(page)
## conditions that call | out n
out, n = [], 0
for d in docs:
    if embed(d)[1] > 5 and embed(d.upper())[1] > 5 or embed(d.title())[1] > 5:
        out.append(d)
    else:
        n += embed(d + "!")[0] if d.endswith("1") else 1
## calls inside of other expressions | out total by
out, total, by = [], 0, {}
for d in docs:
    out.append(f"{d}: {embed(d)[1]:>5}")
    total += embed(d)[0] * 2
    by.setdefault(embed(d)[1], []).append(d)
## starred arguments and keywords | out
def work(*texts, sep="", **options):
    return embed(sep.join(texts)), sorted(options)
out = [work(*[d, "more"], **{"sep": "-", "k": i}) for i, d in enumerate(docs)]
## match in the loop | out kinds
out, kinds = [], []
for d in docs:
    match embed(d):
        case [5, second]:
            kinds.append(second)
        case other:
            out.append(other)
## finally and else | out tries d
out, tries = [], 0
for d in docs:
    try:
        v = embed(d)
    except ValueError:
        break
    else:
        out.append(v)
    finally:
        tries += 1
else:
    out.append("end")
## results of a class of the cell | out
from dataclasses import dataclass
from enum import Enum
class Kind(Enum):
    SHORT = 1
    LONG = 2
@dataclass
class Page:
    text: str
    vector: tuple
    kind: Kind
def work(d):
    vector = embed(d)
    return Page(d, tuple(vector), Kind.SHORT if vector[0] == 5 else Kind.LONG)
out = [work(d) for d in docs]
## results that are an error or no number | out
def work(d):
    vector = embed(d)
    return ValueError(d) if vector[1] % 2 else float("nan")
out = [work(d) for d in docs]
## async as_completed | out
async def work(d):
    await asyncio.sleep(0)
    return embed(d)
out = []
for one in asyncio.as_completed([work(d) for d in docs]):
    out.append(await one)
out.sort()
## table filled row by row | df
df = pd.DataFrame({"t": docs, "v": 0})
for i, row in df.iterrows():
    df.loc[i, "v"] = embed(row["t"])[1]
## map inside of zip | out
out = dict(zip(docs, map(embed, docs)))
## reduce | out
from functools import reduce
out = reduce(lambda found, d: found + embed(d), docs, [])
## partial | out
from functools import partial
def work(k, d):
    return [k, embed(d)]
two = partial(work, 2)
out = [two(d) for d in docs[:10]] + [partial(work, 3)(d) for d in docs[:10]] + list(map(partial(work, 4), docs[:5]))
## functions made with different settings | out
def made(k):
    def work(d):
        return [k, embed(d)]
    return work
works = [made(k) for k in range(3)]
out = [work(d) for work in works for d in docs[:7]]
## filter with a step | out
out = list(filter(lambda d: embed(d)[1] % 2, docs))
## gather over a map | out | +1
async def work(d):
    await asyncio.sleep(0)
    return embed(d)
out = await asyncio.gather(*map(work, docs))
## call that returns a function | out
def made(k):
    return lambda: [k, len(docs)]
fs, out = [], []
for d in docs:
    fs.append(made(d))
    out.append(embed(d))
docs = docs[:3]
out.append(fs[4]())
## files read in a with | - | REFUSED Call a function of yours
Path("outside/a.txt").write_text("a")
pages = {}
for d in docs:
    with Path("outside/a.txt").open() as page:
        pages[d] = page.read()
## threads of the user | - | REFUSED Call a function of yours
out = {}
def work(d):
    out[d] = embed(d)
threads = [threading.Thread(target=work, args=(d,)) for d in docs]
for t in threads:
    t.start()
    t.join()
## functions made in the loop, handed to map | out
def made(k):
    def work(d):
        return [k, embed(d)]
    return work
out = []
for k in range(3):
    out += map(made(k), docs[:7])
""")
