"""The Jupyter server extension: what runs have kept, read from their databases without a kernel.

::

    app        DurableServer: settings, routes, shutdown
    handlers   REST: who may ask, errors as sentences
    answers    what each route answers
    stores     open databases, read-only, and recent mosaics
    places     which databases may be opened

Importing this package imports neither jupyter_server nor SQLAlchemy; the server does when it links the extension.
"""

from __future__ import annotations

from typing import Any


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """Where a Jupyter server finds the extension."""
    from durable_nb.server.app import DurableServer

    return [{"module": "durable_nb.server", "app": DurableServer}]
