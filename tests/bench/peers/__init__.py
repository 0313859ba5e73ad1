"""The same items through durable_nb and its peers, each in a process of its own: ``python -m tests.bench.peers``.

The walk of an item: ``contract`` says what a peer is, ``references``, ``caches``, ``pipelines``, ``workflows`` and ``ours`` say
how each is used, ``child`` runs one in this process, ``measuring`` starts, samples and kills that process, ``table`` prints.
"""

from tests.bench.peers.caches import CACHES
from tests.bench.peers.ours import OURS
from tests.bench.peers.pipelines import PIPELINES
from tests.bench.peers.references import REFERENCES
from tests.bench.peers.workflows import WORKFLOWS

PEERS = {peer.name: peer for peer in (*REFERENCES, *OURS, *PIPELINES, *CACHES, *WORKFLOWS)}
"""All of them, in the order in which they are run."""
