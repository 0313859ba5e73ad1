"""Libraries that transform a whole data set, and keep the outcome."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.peers.contract import Compute, Peer, Work


def nodes(items: list[str], folder: Path) -> Any:
    """LlamaIndex works on nodes."""
    from llama_index.core.schema import TextNode

    return [TextNode(text=item, id_=item[:8]) for item in items]


@contextmanager
def llama_index(folder: Path, work: Work) -> Iterator[Compute]:
    """``IngestionPipeline`` with one transformation; its cache loaded first and persisted after, as its guide does.

    The cache has one entry for all nodes of a call of ``run``, so that there is nothing to persist before the end.
    """
    from llama_index.core.ingestion import IngestionPipeline
    from llama_index.core.schema import TransformComponent

    class Embedded(TransformComponent):
        def __call__(self, nodes: Any, **kwargs: Any) -> Any:
            for node in nodes:
                node.embedding = work(node.text).tolist()
            return nodes

    pipeline = IngestionPipeline(transformations=[Embedded()])
    if any(folder.iterdir()):
        pipeline.load(str(folder))

    def compute(given: Any) -> list[list[float]]:
        found = pipeline.run(nodes=given)
        pipeline.persist(str(folder))
        return [node.embedding for node in found]

    yield compute


def dataset(items: list[str], folder: Path) -> Any:
    """A data set on disk, which is what ``map`` keeps its results beside."""
    import datasets

    where = folder / f"inputs-{len(items)}"
    if not where.exists():
        datasets.Dataset.from_dict({"text": items}).save_to_disk(where)
    return datasets.load_from_disk(where)


@contextmanager
def hugging_face(folder: Path, work: Work) -> Iterator[Compute]:
    """``map(batched=True)``, batches of 1,000 by default; only the vectors are kept, as with everybody else."""
    import datasets

    datasets.disable_progress_bars()

    def batch(rows: dict[str, list[str]]) -> dict[str, list[Any]]:
        return {"vector": [work(text) for text in rows["text"]]}

    def compute(given: Any) -> Any:
        kept = given.map(batch, batched=True, remove_columns=["text"])
        return kept.with_format("numpy")["vector"][:]

    yield compute


HUGGING_FACE = Peer(
    "HF `datasets.map(batched=True)`", hugging_face, "only at the end",
    ("datasets",), "datasets", dataset, "**/cache-*.arrow",
)  # fmt: skip
PIPELINES = (
    Peer(
        "LlamaIndex `IngestionPipeline`", llama_index, "only at the end",
        ("llama_index.core.ingestion",), "llama-index-core", nodes,
    ),
    HUGGING_FACE,
)  # fmt: skip
