"""The cells of the demo notebook; the same in every kernel."""

from __future__ import annotations

RUN = "embed-docs"

CELLS = (
    """\
%load_ext durable_nb
import os, re, sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import wordllama""",
    '''\
def documentation(limit):
    """One document a module: its docstrings, of the Python library and of every installed package."""
    found = []
    for folder in (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        for path in sorted(Path(folder).rglob("*.py")):
            texts = re.findall(r'"""(.+?)"""', path.read_text(encoding="utf-8", errors="replace"), re.DOTALL)
            text = "\\n".join(texts)
            if len(text) > 300:
                found.append({"id": str(path.relative_to(folder)), "text": text})
            if len(found) == limit:
                return found
    return found

docs = documentation(%(documents)d)
f"{len(docs):,} documents, {sum(len(doc['text']) for doc in docs) / 1e6:.1f} million characters"''',
    """\
model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
executed = os.open("executed.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)

def embed(doc):
    os.write(executed, f"{doc['id']}\\n".encode())  # only so that the demo can count what was computed twice
    text = doc["text"]
    return model.embed([text[start : start + 1000] for start in range(0, len(text), 1000)]).mean(axis=0)""",
    f"""\
%%durable {RUN}
with ThreadPoolExecutor(4) as pool:
    vectors = list(pool.map(embed, docs))
np.stack(vectors).shape""",
)
KEEP_VECTORS = "np.save('vectors.npy', np.stack(vectors)); len(docs)"
"""After them: the vectors, to be compared."""
