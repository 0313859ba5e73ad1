"""Cells whose steps do something besides returning a value, which a resumed run could get wrong.

The format is that of `hazards`.
"""

from __future__ import annotations

from tests.notebook.hazards import parsed

OF_STATE = parsed(r"""
## global list filled by a step | out seen
seen = []
def work(d):
    seen.append(d)
    return embed(d)
out = [work(d) for d in docs]
## large cache filled by a step | out cache | ANNOUNCED cache | +8
cache = {f"old {i}": [i, i] for i in range(500)}
def cached(d):
    if d not in cache:
        cache[d] = embed(d)
    return cache[d]
out = [cached(d) for d in docs + docs]
## counter in a closure | out | ANNOUNCED `n`; restored calls do not repeat
def counting():
    n = 0
    def work(d):
        nonlocal n
        n += 1
        return [n, embed(d)]
    return work
work = counting()
out = [work(d) for d in docs]
## random numbers from a closure | out after | ANNOUNCED `rng`; restored calls do not repeat
def drawing():
    rng = np.random.default_rng(0)
    def work(d):
        return [rng.random(), embed(d)]
    return work, rng.random
work, draw = drawing()
out = [work(d) for d in docs]
after = draw()
## random numbers from an attribute of a class | out after | ANNOUNCED `rng`; restored calls do not repeat
class Dice:
    rng = np.random.default_rng(0)
def work(d):
    return [Dice.rng.random(), embed(d)]
out = [work(d) for d in docs]
after = Dice.rng.random()
## random numbers from a closure that builds arguments | out
def marking():
    rng = random.Random(3)
    def mark(d):
        return f"{d} {rng.randint(0, 1000)}"
    return mark
mark = marking()
out = [embed(mark(d)) for d in docs]
## list in a closure | out total | ANNOUNCED `seen`; restored calls do not repeat
def collecting():
    seen = []
    def work(d):
        seen.append(d)
        return embed(d)
    return work, lambda: len(seen)
work, count = collecting()
out = [work(d) for d in docs]
total = count()
## decorator that counts on what it makes | out n
import functools
def counted(f):
    @functools.wraps(f)
    def inner(*args):
        inner.n += 1
        return [inner.n, f(*args)]
    inner.n = 0
    return inner
@counted
def work(d):
    return embed(d)
out = [work(d) for d in docs]
n = work.n
## decorator that counts, below another step | out n
import functools
def counted(f):
    @functools.wraps(f)
    def inner(*args):
        inner.n += 1
        return [inner.n, f(*args)]
    inner.n = 0
    return inner
@counted
def part(d):
    return embed(d)
def work(d):
    return part(d)
out = [work(d) for d in docs]
n = part.n
## decorator that is an object and counts | out n
import functools
class Counted:
    def __init__(self, function):
        functools.update_wrapper(self, function)
        self.function, self.n, self.seen = function, 0, []
    def __call__(self, *args):
        self.n += 1
        self.seen.append(args[0])
        return [self.n, len(self.seen), self.function(*args)]
@Counted
def work(d):
    return embed(d)
out = [work(d) for d in docs]
n = [work.n, work.seen]
## decorator that is an object and counts, below another step | out n
import functools
class Counted:
    def __init__(self, function):
        functools.update_wrapper(self, function)
        self.function, self.n = function, 0
    def __call__(self, *args):
        self.n += 1
        return [self.n, self.function(*args)]
@Counted
def part(d):
    return embed(d)
def work(d):
    return part(d)
out = [work(d) for d in docs]
n = part.n
## objects of a subclass that count on their class | out n
class Base:
    made = 0
    def __init__(self):
        type(self).made += 1
class Sub(Base):
    pass
def work(d):
    Sub()
    return [Sub.made, embed(d)]
out = [work(d) for d in docs]
n = [Base.made, Sub.made]
## class method of a base that counts on a subclass | out n
class Base:
    made = 0
    @classmethod
    def make(cls):
        cls.made += 1
class Sub(Base):
    pass
def work(d):
    Sub.make()
    return [Sub.made, embed(d)]
out = [work(d) for d in docs]
n = [Base.made, Sub.made]
## attribute of a class that is set by setattr | out n
class M:
    n = 0
def work(d):
    setattr(M, "n", M.n + 1)
    return [M.n, embed(d)]
out = [work(d) for d in docs]
n = M.n
## attribute of a local of the thread | out n
import threading
here = threading.local()
here.n = 0
def work(d):
    here.n += 1
    return [here.n, embed(d)]
out = [work(d) for d in docs]
n = here.n
## class attribute | out n
class M:
    n = 0
    def enc(self, d):
        M.n += 1
        return embed(d)
m = M()
out = [m.enc(d) for d in docs]
n = M.n
## class method that counts | out n
class M:
    n = 0
    @classmethod
    def enc(cls, d):
        cls.n += 1
        return embed(d)
out = [M.enc(d) for d in docs]
n = M.n
## attribute of a function | out n
def work(d):
    work.calls += 1
    return embed(d)
work.calls = 0
out = [work(d) for d in docs]
n = work.calls
## list as a default | out n | ANNOUNCED `seen`; restored calls do not repeat
def work(d, seen=[]):
    seen.append(d)
    return [len(seen), embed(d)]
out = [work(d) for d in docs]
n = len(work.__defaults__[0])
## decorator that counts | out n | ANNOUNCED `wrapper.calls`; restored calls do not repeat
def counted(function):
    def wrapper(d):
        wrapper.calls += 1
        return function(d)
    wrapper.calls = 0
    return wrapper
@counted
def work(d):
    return embed(d)
out = [work(d) for d in docs]
n = work.calls
## object of a global that counts | out state
class State:
    def __init__(self):
        self.seen = []
state = State()
def work(d):
    state.seen.append(d)
    return embed(d)
out = [work(d) for d in docs]
## globals() as a dict | out n
n = 0
def work(d):
    globals()["n"] += 1
    return embed(d)
out = [work(d) for d in docs]
## itertools.count as a global | out after | ANNOUNCED `ids`; restored calls do not repeat
ids = itertools.count()
def work(d):
    return [next(ids), embed(d)]
out = [work(d) for d in docs]
after = next(ids)
## random object of a library as a global | out after
rng = fakeai.Generator(7)
def work(d):
    return [rng.random(), embed(d)]
out = [work(d) for d in docs]
after = rng.random()
## random numbers between the steps | out
random.seed(3)
out = [[embed(d), random.random()] for d in docs]
## environment set by a step | out | OUTSIDE
def work(d):
    os.environ["SEEN"] = str(int(os.environ.get("SEEN", "0")) + 1)
    return embed(d)
out = [work(d) for d in docs]
## sys.path changed by a step | out | OUTSIDE
def work(d):
    sys.path.append(f"/nowhere/{d}")
    return embed(d)
out = [work(d) for d in docs]
## a step that prints | out
def work(d):
    print("working on", d)
    return embed(d)
out = [work(d) for d in docs]
## a step that warns | out | OUTSIDE
def work(d):
    warnings.warn(f"odd: {d}", stacklevel=2)
    return embed(d)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    out = [work(d) for d in docs]
## function with lru_cache | out info | +8
from functools import lru_cache
@lru_cache(maxsize=None)
def work(d):
    return embed(d)
out = [work(d) for d in docs + docs]
info = work.cache_info().currsize
## global list filled in a pool | n | ANNOUNCED seen | +3
seen = []
def work(d):
    seen.append(d)
    return embed(d)
with ThreadPoolExecutor(3) as ex:
    out = list(ex.map(work, docs))
n = len(seen)
## text buffer written by a step | text | ANNOUNCED `buf`; restored calls do not repeat
import io
buf = io.StringIO()
def work(d):
    buf.write(d)
    return embed(d)
out = [work(d) for d in docs]
text = buf.getvalue()
## file opened by the cell, written by a step | - | ANNOUNCED `f`; restored calls do not repeat
f = open("outside/rows.txt", "w")
def work(d):
    v = embed(d)
    f.write(f"{v}\n")
    f.flush()
    return v
out = [work(d) for d in docs]
f.close()
## csv writer used by a step | - | ANNOUNCED `f`; restored calls do not repeat
import csv
f = open("outside/rows.csv", "w", newline="")
rows = csv.writer(f)
def work(d):
    rows.writerow(embed(d))
for d in docs:
    work(d)
f.close()
## index of a library filled by a step | items
ix = fakeai.Index()
def work(d):
    ix.add(embed(d))
for d in docs:
    work(d)
items = ix.items
## method with state handed to map | out n
class M:
    def __init__(self):
        self.n = 0
    def enc(self, d):
        self.n += 1
        return [self.n, embed(d)]
m = M()
out = list(map(m.enc, docs))
n = m.n
## object that is called | out n
class Encoder:
    def __init__(self):
        self.n = 0
    def __call__(self, d):
        self.n += 1
        return [self.n, embed(d)]
enc = Encoder()
out = [enc(d) for d in docs]
n = enc.n
## cache left out of the pickled state | out n
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
## failed ones again at the end | out failed | ANNOUNCED raised for some documents
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
## large cache left out of the pickled state | out | ANNOUNCED the M that it is given
class M:
    def __init__(self):
        self.cache = {}
    def __getstate__(self):
        return {}
    def enc(self, d):
        self.cache[d] = d * 1000
        return len(self.cache), embed(d)
m = M()
out = [m.enc(d) for d in docs]
""")
