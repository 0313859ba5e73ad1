import io
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import wordllama
from llama_index.core.node_parser import SentenceSplitter
from pypdf import PdfReader
from temporalio import activity

model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
splitter = SentenceSplitter(chunk_size=256, chunk_overlap=20)


@dataclass
class Indexed:
    url: str
    chunks: int


def vector_store():
    database = sqlite3.connect("vectors.db", timeout=30)
    database.execute("CREATE TABLE IF NOT EXISTS chunks (id TEXT PRIMARY KEY, text TEXT, vector BLOB)")
    return closing(database)


def read(url):
    with urlopen(url) as reply:
        pages = PdfReader(io.BytesIO(reply.read())).pages
    return "\n".join(page.extract_text() for page in pages)


def clean(text):
    return text.replace("\t", " ")


@activity.defn
def index_document(url: str) -> Indexed:
    chunks = splitter.split_text(clean(read(url)))
    vectors = [vector.tobytes() for vector in model.embed(chunks)]
    with vector_store() as database, database:
        rows = [(f"{url}#{number}", *row) for number, row in enumerate(zip(chunks, vectors, strict=True))]
        database.executemany("INSERT OR REPLACE INTO chunks VALUES (?, ?, ?)", rows)
    return Indexed(url, len(chunks))
