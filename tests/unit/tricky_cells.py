"""Cells of odd shape: evaluated in an order that is easy to get wrong, or with names that are easy to lose."""

from __future__ import annotations

import re

_CELLS = r"""
for i in items: a = f(g(i), h(i))
----
for i in items: a = shelf.book(i)
----
for i in items: a = shelf.book(i).plus(g(i)).low
----
found = [shelf.books[0](g(i), i)[0] for i in items]
----
found = [shelf.submit(shelf.book, items) for i in items]
----
found = [shelf.submit(None, shelf.book, shelf.book, i) for i in items]
----
for i in items: a = await shelf.asked(await wait(i))
----
for i in items: a = (await shelf.asked(g(i))).low
----
found = [f(i).low.plus(1)[0] for i in items]
----
found = [f(i).plus(g(i)) for i in items]
----
found = {f(i): g(i) for i in items if h(i)}
----
found = [f(i, j) for i in items if g(i) for j in i if h(j)]
----
found = [[f(i) for i in j] for j in items]
----
found = list(f(g(i)) for i in items)
----
found = sorted({f(i) for i in items}, key=g)
----
found = [y := f(i) for i in items] + [y]
----
found = [f(y := g(i), y) for i in items]
----
found = [f(*[g(j) for j in i], **{"k": h(i)}) for i in items]
----
while (w := f(w)) % 7: a += g(w)
----
while True:
    if f(a): break
else:
    b = 0
----
for i in f(a):
    if g(i): continue
    b = h(i)
else:
    c = f(c)
----
for i in items:
    try:
        boom(f(i))
    except ValueError as error:
        b = str(error)
    else:
        b = 0
    finally:
        c = g(i)
----
for i in items:
    boom(f(i), g(i))
----
for i in items:
    f(i).missing
----
for i in items:
    f(missing(g(i)), h(i))
----
for i in items:
    missing(f(i))
----
for i in items:
    with room(f(i)) as left, room(g(left)) as right:
        a = h(left, right)
----
for i in items:
    with room(f(i)):
        boom(g(i))
----
def k(i): return [f(j) for j in i]
found = [k(i) for i in items]
----
class Shelf:
    found = [f(i) for i in (1, 2)]
    def put(self, i): return f(i)
found = [Shelf().put(i) for i in items]
----
for i in items:
    def k(j, d=f(i)): return g(j) + d
    a = k(i)
----
for i in items:
    @f
    def k(): ...
    a = h(i)
----
later = [lambda i=f(i): g(i) for i in items]
found = [each() for each in later]
----
later = [lambda: g(i) for i in items]
found = [each() for each in later]
----
late = (f(i) for i in items)
items = items + items
found = [next(late), next(late), g(a)]
----
found = list(map(f, items)) + list(map(lambda i: g(i), items))
----
from functools import partial, reduce
found = [reduce(f, [i, g(i), h(i)]) for i in items] + list(map(partial(f, a), items))
----
for i in items:
    found = sorted(i, key=f), max(items, key=g), min(map(h, items))
----
import itertools
for i, j in zip(itertools.count(f(a)), items):
    found = f(i, g(j))
----
for i, (j, *rest) in enumerate([items, items]):
    a = f(j, *rest, g(i))
----
found = {}
for i in items:
    found[f(i)] = g(i)
    found[g(f(i))] = found.get(f(i), h(i))
----
found = [0] * 3
for i in range(3):
    found[i] += f(found[i - 1])
    found[f(i) % 3] -= g(i)
----
for i in items:
    a = b = f(i)
    (a, b), c = (g(i), h(i)), f(a)
----
for i in items:
    a: int = f(i)
    del a
----
for i in items:
    assert f(i) >= 0, g(i)
    a = f(i) and g(i) or h(i)
    b = f(i) if g(i) else h(i)
    c = f(i) < g(i) < h(i)
----
for i in items:
    a = f"{f(i)} {g(i)!r:>{h(i)}} {f(g(i)).low}"
----
for i in items:
    match f(i).low:
        case 0 | 1 if g(i): a = h(i)
        case Number(): b = g(f(i))
        case other: c = f(other)
----
for i in items:
    global total
    total = f(i)
----
for i in items:
    from math import floor
    import os.path as path
    a = f(floor(i), path.join("x", "y"))
----
for i in items:
    print(f(i), end="", file=sys.stderr)
----
for i in items:
    f(i)
    f(i).plus(g(i))
    a.plus(f(i))
    (f(i), g(i))
----
for i in items:
    a = (lambda j: f(j))(i)
    b = (f if i else g)(h(i))
    c = [f, g][i % 2](h(i))
----
for i in items:
    a = f(i)(g(i))(1)
    b = f(i).plus(1).plus(2).low[0]
----
for i in items:
    a = f(i, *[g(j) for j in i], k=[h(j) for j in i])
----
for i in items:
    a = [f(i)
         .plus(g(
             i))
         .low, h(i)]; b = f(a)
----
for i in items:
    a = f(
        boom(g(i)),
    )
----
try:
    found = [boom(f(i)) for i in items]
except* ValueError as group:
    found = f(len(group.exceptions))
----
for i in items:
    exec("a = f(i)", globals())
    b = eval("g(i)", globals(), {"i": f(i)})
----
R0 = [f(R0) for R0 in items]
----
for i in items:
    a = f(-i, not i, i[0], i[1:2], i[g(i)])
    b = f(i)[g(i)]
----
for _ in range(2):
    for _ in range(2):
        a = f(a, g(a))
    while f(a) % 2: a = g(a)
----
found = [f(i) for i in items if (last := g(i))]; a = last
----
found = [*map(f, items), *(g(i) for i in items)], {**{str(i): h(i) for i in items}}
----
a = f(b); b = g(f(a)); found = h(a).plus(b)
----
a = await wait(1)
found = [await wait(i) for i in items]
----
import asyncio
found = await asyncio.gather(*(wait(f(i)) for i in items))
----
async for i in stream(3):
    a = await wait(f(i), await wait(g(i)))
    await wait(a)
----
found = [f(i) async for i in stream(3) if await wait(i)]
----
import asyncio
for i in items:
    await asyncio.sleep(0)
    async with asyncio.timeout(9):
        a = (await wait(i)).low.plus(1)
    b = await asyncio.to_thread(f, i)
----
import asyncio
for i in items:
    task = asyncio.create_task(wait(f(i)))
    a = f(i)
    b = await task
    task = None
----
async def k(i): return await wait(f(i))
found = [await k(i) for i in items]
----
from functools import partial
for i in items: a = list(map(partial(f, g(i)), items))
----
for i in items: a = f('{i}'.format(**locals()))
----
a = [f(g(eval('i + 1'))) for i in items]
"""
TRICKY = [cell.strip("\n") for cell in re.split(r"^----\n", _CELLS, flags=re.MULTILINE)]
