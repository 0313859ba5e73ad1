"""Shapes around hosted models, web pages and files, executors, and tables."""

from __future__ import annotations

from tests.notebook.shapes import parsed

HOSTED = parsed(r"""
## set of strings | rows total
words = {d.strip() for d in docs}
lengths = {}
for word in words:
    lengths[word] = embed(word)
rows = sorted(lengths.items())
total = sum(vector[1] for vector in lengths.values())
## batches by slices | vectors start
client = fakeai.Client(key="k")
BATCH = 3
texts = [f"{d} {k}" for k in range(3) for d in docs]
---
vectors = []
for start in range(0, len(texts), BATCH):
    batch = texts[start : start + BATCH]
    vectors.extend(item.embedding for item in client.embeddings.create(input=batch).data)
## batch responses in a comprehension | vectors
client = fakeai.Client(key="k")
texts = [f"{d} {k}" for k in range(2) for d in docs]
---
data = [client.embeddings.create(input=texts[i : i + 2], model="large").data for i in range(0, len(texts), 2)]
vectors = [item.embedding for page in data for item in page]
## chat completions | answers prompt
client = fakeai.Client()
---
answers = []
for doc in docs:
    prompt = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": doc}]
    answers.append(client.chat.completions.create(messages=prompt).choices[0].message.content)
## conversation that grows | messages
client = fakeai.Client()
---
messages = [{"role": "system", "content": "Be brief."}]
for doc in docs:
    messages.append({"role": "user", "content": doc})
    reply = client.chat.completions.create(messages=messages).choices[0].message
    messages.append({"role": reply.role, "content": reply.content})
## model made by a statement | vectors | needs numpy
model = fakeai.Model("small", dimensions=3)
---
import numpy as np
vectors = np.stack([model.encode(d) for d in docs])
## pydantic responses | answers cost answer | needs pydantic
from pydantic import BaseModel
class Usage(BaseModel):
    tokens: int
class Answer(BaseModel):
    text: str
    usage: Usage
def ask(doc):
    fakeai.work(doc)
    return Answer(text=doc.upper(), usage=Usage(tokens=len(doc)))
---
answers, cost = [], 0
for doc in docs:
    answer = ask(doc)
    cost += answer.usage.tokens
    answers.append(answer)
## dataclass results | scored best
@dataclasses.dataclass(frozen=True)
class Scored:
    doc: str
    score: int
def score(doc):
    return Scored(doc, embed(doc)[1])
---
scored = [score(d) for d in docs]
best = max(scored, key=lambda s: s.score)
## pages of a web server | pages sizes
import urllib.request
---
pages, sizes = [], {}
for n in range(30):
    body = urllib.request.urlopen(f"{base}/{n % 25}", timeout=9).read().decode()
    pages.append(body)
    sizes[n] = len(body)
## download as a function | pages
import urllib.request
def download(url):
    with urllib.request.urlopen(url, timeout=9) as response:
        return response.read()
---
pages = {}
for n in range(30):
    pages[n] = download(f"{base}/{n}")
## file per document | written
Path("out").mkdir(exist_ok=True)
---
for i, doc in enumerate(docs):
    (Path("out") / f"{i}.txt").write_text(str(embed(doc)))
written = {path.name: path.read_text() for path in sorted(Path("out").iterdir())}
## file per document, opened | written
Path("opened").mkdir(exist_ok=True)
---
for i, doc in enumerate(docs):
    with open(f"opened/{i}.txt", "w") as out:
        out.write(clean(doc) + "\n")
        out.write(str(embed(doc)))
written = {path.name: path.read_text() for path in sorted(Path("opened").iterdir())}
""")

CONCURRENT = parsed(r"""
## as_completed | rows | flying 4
found = {}
with ThreadPoolExecutor(max_workers=4) as pool:
    futures = {pool.submit(embed, d): i for i, d in enumerate(docs)}
    for future in as_completed(futures):
        found[futures[future]] = future.result()
rows = sorted(found.items())
## pool map of two iterables | pairs | flying 3
def pair(url, doc):
    return url, embed(doc)
---
with ThreadPoolExecutor(3) as pool:
    pairs = dict(pool.map(pair, urls, docs))
## task group | results | flying 12
limit = asyncio.Semaphore(4)
async def limited(url):
    async with limit:
        return await fetch(url)
async with asyncio.TaskGroup() as group:
    tasks = [group.create_task(limited(url)) for url in urls]
results = [task.result() for task in tasks]
## asyncio.as_completed | rows | flying 12
limit = asyncio.Semaphore(4)
async def limited(url):
    async with limit:
        return url, await fetch(url)
rows = []
for task in asyncio.as_completed([limited(url) for url in urls]):
    rows.append(await task)
rows.sort()
## gather of slices | results | flying 3
results = []
for i in range(0, len(urls), 3):
    results += await asyncio.gather(*[fetch(url) for url in urls[i : i + 3]])
## async comprehension | results lengths
results = [await fetch(url) for url in urls]
lengths = {url: len(url) for url in results}
## async generator | results
async def pages():
    for url in urls:
        yield url
---
results = [(url, await fetch(url)) async for url in pages()]
## asyncio.to_thread | vectors | flying 2
vectors = []
for one, two in zip(docs[::2], docs[1::2]):
    vectors += await asyncio.gather(asyncio.to_thread(embed, one), asyncio.to_thread(embed, two))
## run_in_executor | vectors | flying 4
loop = asyncio.get_running_loop()
with ThreadPoolExecutor(4) as pool:
    vectors = await asyncio.gather(*[loop.run_in_executor(pool, embed, d) for d in docs])
## joblib threads | vectors | needs joblib | flying 2
from joblib import Parallel, delayed
vectors = Parallel(n_jobs=2, backend="threading")(delayed(embed)(d) for d in docs)
## joblib processes | vectors | needs joblib | flying 2
from joblib import Parallel, delayed
vectors = Parallel(n_jobs=2, backend="loky")(delayed(embed)(f"{n} {d}") for n, d in enumerate(docs))
## process pool | vectors | flying 2
texts = [f"{n} {d}" for n, d in enumerate(docs)]
---
with ProcessPoolExecutor(2) as pool:
    vectors = list(pool.map(embed, texts))
## process pool submit | vectors | flying 2
with ProcessPoolExecutor(2) as pool:
    futures = [pool.submit(embed, f"{n} {d}") for n, d in enumerate(docs)]
    vectors = [future.result() for future in futures]
## multiprocessing pool imap | vectors total | flying 2
from multiprocessing import Pool
texts = [f"{n} {d}" for n, d in enumerate(docs)]
---
vectors, total = [], 0
with Pool(2) as pool:
    for vector in pool.imap(embed, texts):
        vectors.append(vector)
        total += vector[1]
## samples of one prompt in threads | distinct | flying 4
def sample(prompt):
    fakeai.work(prompt)
    return os.urandom(8).hex()
---
with ThreadPoolExecutor(4) as pool:
    distinct = len(set(pool.map(sample, ["Tell a joke."] * 30)))
## samples of one prompt in processes | distinct | flying 2
def sample(prompt):
    fakeai.work(prompt)
    return os.urandom(8).hex()
---
with ProcessPoolExecutor(2) as pool:
    distinct = len(set(pool.map(sample, ["Tell a joke."] * 30)))
## thread pool starmap | pairs | flying 3
from multiprocessing.pool import ThreadPool
def pair(url, doc):
    return url, embed(doc)
---
with ThreadPool(3) as pool:
    pairs = pool.starmap(pair, zip(urls, docs))
""")

TABLES = parsed(r"""
## groupby apply | scores | needs pandas
import pandas as pd
df = pd.DataFrame({"group": [i // 2 for i in range(60)], "text": [f"{d}{k}" for k in range(2) for d in docs]})
---
scores = df.groupby("group").text.apply(lambda texts: embed(" ".join(texts))[1])
## loop over groups | rows table | needs pandas
import pandas as pd
df = pd.DataFrame({"group": [i // 2 for i in range(60)], "text": [f"{d}{k}" for k in range(2) for d in docs]})
---
rows = []
for name, part in df.groupby("group"):
    rows.append({"group": name, "score": embed(" ".join(part["text"]))[1], "n": len(part)})
table = pd.DataFrame(rows).set_index("group")
## polars map_elements | df | needs polars | mutates
import polars as pl
df = pl.DataFrame({"text": docs, "n": range(len(docs))})
---
df = df.with_columns(pl.col("text").map_elements(lambda t: embed(t)[1], return_dtype=pl.Int64).alias("score"))
## polars rows | df | needs polars | mutates
import polars as pl
df = pl.DataFrame({"text": docs, "n": range(len(docs))})
---
df = df.with_columns(vector=pl.Series([embed(row["text"]) for row in df.iter_rows(named=True)]))
## itertuples and a new table | table | needs pandas
import pandas as pd
df = pd.DataFrame({"text": docs, "n": range(len(docs))})
---
table = pd.DataFrame([{"n": row.n, "length": embed(row.text)[0]} for row in df.itertuples(index=False)])
## progress_apply | df | needs pandas tqdm | mutates
import pandas as pd
from tqdm import tqdm
tqdm.pandas()
df = pd.DataFrame({"text": docs})
---
df["vector"] = df["text"].progress_apply(embed)
## array filled in place | matrix i doc | needs numpy
import numpy as np
matrix = np.zeros((len(docs), 2), dtype=np.float32)
for i, doc in enumerate(docs):
    matrix[i] = embed(doc)
## array filled by a function | matrix | needs numpy | mutates
import numpy as np
matrix = np.zeros((len(docs), 2))
def fill(matrix, i, doc):
    matrix[i, :] = embed(doc)
---
for i, doc in enumerate(docs):
    fill(matrix, i, doc)
## random generator as a global | noise after rng | needs numpy | mutates
import numpy as np
rng = np.random.default_rng(0)
def noisy(doc):
    return embed(doc)[0] + rng.normal()
---
noise = [noisy(doc) for doc in docs]
after = rng.random()
## random generator as an argument | noise after rng | needs numpy
import numpy as np
def noisy(doc, rng):
    return embed(doc)[0] + rng.normal(size=2)
---
rng = np.random.default_rng(42)
noise = []
for doc in docs:
    noise.append(noisy(doc, rng))
after = rng.random()
## seed of numpy | noise after | needs numpy
import numpy as np
def noisy(doc):
    return embed(doc)[0] * np.random.rand()
---
np.random.seed(3)
noise = [noisy(doc) for doc in docs]
after = np.random.rand(2)
""")

MORE = [*HOSTED, *CONCURRENT, *TABLES]
