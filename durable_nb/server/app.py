"""The extension as a Jupyter server sees it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jupyter_server.extension.application import ExtensionApp
from jupyter_server.utils import url_path_join
from traitlets import List, Unicode

from durable_nb.server.answers import Answers
from durable_nb.server.handlers import ROUTES
from durable_nb.server.places import Places


class DurableServer(ExtensionApp):
    """Lets the lab show durable runs without a kernel."""

    name = "durable_nb"

    databases: Any = List(
        Unicode(),
        help="Databases that may be shown wherever they are: paths or SQLAlchemy URLs. Those below the server's root are "
        "found beside their notebooks and need not be named.",
    ).tag(config=True)

    _answers: Answers | None = None

    def initialize_settings(self) -> None:
        """Tell kernels that are started from now on that somebody reads the database for the page."""
        os.environ["DURABLE_NB_SERVER"] = "1"
        assert self.serverapp is not None
        root = Path(self.serverapp.root_dir).expanduser()
        self._answers = Answers(Places(root, self.databases))
        self.settings["durable_nb_answers"] = self._answers

    def initialize_handlers(self) -> None:
        """Add the routes below ``<base_url>durable-nb/api/``."""
        self.handlers.extend((url_path_join("durable-nb", "api", name), handler) for name, handler in ROUTES)

    async def stop_extension(self) -> None:
        """Close the databases."""
        if self._answers is not None:
            self._answers.close()
