"""Shapes that differ in how the loop is written, or in what is called."""

from __future__ import annotations

from tests.notebook.shapes import parsed

LANGUAGE = parsed(r"""
## generator pipeline | kept total
cleaned = (clean(d) for d in docs)
vectors = (embed(text) for text in cleaned)
kept = [vector for vector in vectors if vector[1] > 40]
total = len(kept)
## helper that loops, named by --steps | vectors again | --steps embed
def embed_all(texts):
    vectors = []
    for text in texts:
        vectors.append(embed(text))
    return vectors
---
vectors = embed_all(docs[:15])
again = embed_all(docs[15:])
## class with state | pipeline totals
class Pipeline:
    def __init__(self):
        self.rows, self.total = [], 0
    def add(self, doc):
        vector = embed(doc)
        self.rows.append(vector)
        self.total += vector[1]
        return self.total
---
pipeline = Pipeline()
totals = [pipeline.add(doc) for doc in docs]
## method called for its effect | pipeline
class Pipeline:
    def __init__(self):
        self.rows = {}
    def add(self, doc):
        self.rows[doc] = embed(doc)
---
pipeline = Pipeline()
for doc in docs:
    pipeline.add(doc)
## dict comprehension | vectors
vectors = {doc: embed(doc) for doc in docs}
## set comprehension | codes
codes = {embed(doc)[1] for doc in docs}
## walrus | kept vector
kept = [vector for doc in docs if (vector := embed(doc))[1] > 40]
## walrus in while | vectors queue
queue = list(docs)
vectors = []
while queue and (vector := embed(queue.pop(0))):
    vectors.append(vector)
## work list that grows | seen order
def links(page):
    fakeai.work(page)
    return [n for n in (2 * page + 1, 2 * page + 2) if n < 30]
---
seen, queue, order = set(), [0], []
while queue:
    page = queue.pop()
    if page in seen:
        continue
    seen.add(page)
    order.append(page)
    queue.extend(links(page))
## global counter | vectors count
count = 0
def counted(doc):
    global count
    count += 1
    return count, embed(doc)
---
count = 0
vectors = [counted(doc) for doc in docs]
## partial | scores
def scale(doc, factor, offset=0):
    return embed(doc)[1] * factor + offset
---
score = functools.partial(scale, factor=3, offset=1)
scores = []
for doc in docs:
    scores.append(score(doc))
## partial in map | scores
def scale(factor, doc):
    return embed(doc)[1] * factor
---
scores = list(map(functools.partial(scale, 3), docs))
## list of map | vectors
vectors = list(map(embed, docs))
## lambda in map | codes
codes = list(map(lambda d: embed(clean(d))[1], docs))
## map and filter | kept
kept = [*filter(lambda vector: vector[1] > 40, map(embed, docs))]
## islice in batches | pages
texts = iter([f"{d} {k}" for k in range(3) for d in docs])
pages = []
while batch := list(itertools.islice(texts, 3)):
    pages.append(embed(" ".join(batch)))
## batched | pages batch | needs python3.12
pages = []
for batch in itertools.batched([f"{d} {k}" for k in range(3) for d in docs], 3):
    pages.append(embed(" ".join(batch)))
## match statement | long short other
long, short, other = [], [], 0
for doc in docs:
    match embed(doc):
        case [length, code] if length > 15:
            long.append(code)
        case [_, code]:
            short.append(code)
        case _:
            other += 1
## try and finally | vectors closed
vectors, closed = [], 0
for doc in docs:
    try:
        vectors.append(embed(doc))
    finally:
        closed += 1
## nested comprehension | grid
grid = [[embed(f"{k} {doc}") for k in range(3)] for doc in docs[:10]]
## for, else and break | found tried
tried = 0
for doc in docs:
    tried += 1
    if embed(doc)[1] == embed("  Doc  number 20 ")[1]:
        found = doc
        break
else:
    found = None
## for that ends in else | best outcome
best = 0
for doc in docs:
    best = max(best, embed(doc)[1])
    if best > 1000:
        break
else:
    outcome = f"none above {best}"
## conditional expression | vectors
vectors = [embed(doc) if i % 6 else None for i, doc in enumerate(docs * 2)][:50]
## unpacking | lengths codes length code
lengths, codes = [], []
for length, code in (embed(doc) for doc in docs):
    lengths.append(length)
    codes.append(code)
## cache in a dict | cache hits
cache, hits = {}, 0
for doc in docs + docs:
    if doc in cache:
        hits += 1
        continue
    cache[doc] = embed(doc)
## call inside a call | reviewed | flying 2
def draft(doc):
    fakeai.work(("draft", doc))
    return f"{doc.strip()}, drafted"
def review(text):
    fakeai.work(("review", text))
    return f"{text} and reviewed"
---
reviewed = [review(draft(doc)) for doc in docs[:20]]
## list that was passed and then grows | history lengths
def note(history, doc):
    fakeai.work(doc)
    return len(history), history[-1].upper()
---
history, lengths = [], []
for doc in docs:
    history.append(doc)
    lengths.append(note(history, doc))
## f-string and arguments by name | lines
def summarise(text, *, limit=10, style="plain"):
    fakeai.work(text)
    return f"{style}: {text.strip()[:limit]}"
---
lines = []
for n, doc in enumerate(docs, start=1):
    lines.append(f"{n}. {summarise(doc, limit=12, style='short')}")
""")
