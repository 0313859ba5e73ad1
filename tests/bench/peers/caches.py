"""Caches of a function's results, as their documentation recommends them for one that is worth keeping."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from tests.bench.peers.contract import Compute, Peer, Work


@contextmanager
def joblib_memory(folder: Path, work: Work) -> Iterator[Compute]:
    """``Memory(folder).cache``, its defaults; ``verbose=0``, since it prints every call otherwise."""
    from joblib import Memory

    embed = Memory(folder, verbose=0).cache(work)
    yield lambda items: [embed(item) for item in items]


@contextmanager
def diskcache_memoize(folder: Path, work: Work) -> Iterator[Compute]:
    """``Cache(folder).memoize()``; without its limit of 1 GiB, beyond which it drops the oldest results."""
    from diskcache import Cache

    with Cache(folder, size_limit=2**40) as cache:
        embed = cache.memoize()(work)
        yield lambda items: [embed(item) for item in items]


def langchain_cache(batch: int | None) -> Callable[[Path, Work], AbstractContextManager[Compute]]:
    """``CacheBackedEmbeddings`` over files, as in its own example; keys by blake2b, since its default warns of itself.

    By default it stores what ``embed_documents`` was given when all of it is computed; ``batch_size`` is its remedy.
    """

    @contextmanager
    def opened(folder: Path, work: Work) -> Iterator[Compute]:
        from langchain_classic.embeddings import CacheBackedEmbeddings
        from langchain_classic.storage import LocalFileStore
        from langchain_core.embeddings import Embeddings

        class Model(Embeddings):
            def embed_documents(self, texts: list[str]) -> list[list[float]]:
                return [work(text).tolist() for text in texts]

            def embed_query(self, text: str) -> list[float]:
                return work(text).tolist()

        yield CacheBackedEmbeddings.from_bytes_store(
            Model(), LocalFileStore(folder), namespace="bench", batch_size=batch, key_encoder="blake2b"
        ).embed_documents

    return opened


_LANGCHAIN = ("langchain_classic.embeddings", "langchain_classic.storage"), "langchain-classic"
CACHES = (
    Peer("joblib `Memory`", joblib_memory, "each call", ("joblib",), "joblib"),
    Peer("diskcache `memoize`", diskcache_memoize, "each call", ("diskcache",), "diskcache"),
    Peer("LangChain `CacheBackedEmbeddings`", langchain_cache(None), "only at the end", *_LANGCHAIN),
    Peer("LangChain, `batch_size=64`", langchain_cache(64), "every 64 calls", *_LANGCHAIN),
)
