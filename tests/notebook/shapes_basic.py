"""The seventeen shapes of the research notes."""

from __future__ import annotations

from tests.notebook.shapes import parsed

BASIC = parsed(r"""
## loop and append | vectors doc
vectors = []
for doc in docs:
    vectors.append(embed(clean(doc)))
## comprehension | vectors
vectors = [embed(d) for d in docs]
## thread pool map | vectors | flying 4
with ThreadPoolExecutor(4) as pool:
    vectors = list(pool.map(embed, docs))
## submit and result | vectors | flying 4
with ThreadPoolExecutor(4) as pool:
    futures = [pool.submit(embed, d) for d in docs]
vectors = [f.result() for f in futures]
## gather under a semaphore | results | flying 12
limit = asyncio.Semaphore(4)
async def limited(url):
    async with limit:
        return await fetch(url)
results = await asyncio.gather(*(limited(url) for url in urls))
## await in a for | results result url
results = []
for url in urls:
    result = await fetch(url)
    results.append(result)
## Series.map | df | needs pandas | mutates
import pandas as pd
df = pd.DataFrame({"text": docs, "n": range(len(docs))})
---
df["vector"] = df.text.map(embed)
## DataFrame.apply of rows | df | needs pandas | mutates
import pandas as pd
df = pd.DataFrame({"text": docs, "n": range(len(docs))})
---
df["score"] = df.apply(lambda row: embed(row["text"])[1] + row["n"], axis=1)
## iterrows and loc | df i | needs pandas | mutates
import pandas as pd
df = pd.DataFrame({"text": docs, "n": range(len(docs))})
---
for i, row in df.iterrows():
    df.loc[i, "length"] = embed(row["text"])[0]
## tqdm of zip | rows url doc | needs tqdm
from tqdm.auto import tqdm
rows = []
for url, doc in tqdm(zip(urls, docs), total=len(urls)):
    rows.append({"url": url, "vector": embed(doc)})
## enumerate, continue, dict and counter | found count i doc vector
found = {}
count = 0
for i, doc in enumerate(docs):
    if i % 7 == 0:
        continue
    vector = embed(clean(doc))
    found[i] = vector
    count += vector[0]
    print(i, vector[1])
## nested loops with duplicates | grid k doc
grid = {}
for k in range(3):
    for doc in docs[20:]:
        grid.setdefault((k, doc), []).append(embed(f"{k % 2}-{doc}"))
## while pagination | items cursor page
def fetch_page(cursor):
    fakeai.work(cursor)
    following = cursor + 1 if cursor < 29 else None
    return {"items": [f"item {cursor}.{n}" for n in range(3)], "next": following}
---
items, cursor = [], 0
while cursor is not None:
    page = fetch_page(cursor)
    items += page["items"]
    cursor = page["next"]
## try, except and retries | done failed
def ask(text):
    fakeai.work_of_a_server(text)
    return text.upper()
---
done, failed = {}, []
for doc in docs[:26]:
    for attempt in range(3):
        try:
            done[doc] = ask(doc)
            break
        except ConnectionError as error:
            time.sleep(0.001 * 2**attempt)
    else:
        failed.append(doc)
## random inside a step | noise after
random.seed(0)
def noisy(doc):
    return embed(doc), random.random()
noise = []
for doc in docs:
    noise.append(noisy(doc))
after = random.random()
## in-place mutation | records | mutates
records = [{"text": d} for d in docs]
def enrich(record):
    record["vector"] = embed(record["text"])
---
for record in records:
    enrich(record)
## running summary | summary
def refine(summary, doc):
    fakeai.work(doc)
    return f"{summary[-40:]} {doc.strip()} {len(summary)}"
---
summary = ""
for doc in docs:
    summary = refine(summary, doc)
""")
