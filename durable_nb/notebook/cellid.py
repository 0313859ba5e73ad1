"""Which notebook and kernel is this: JupyterLab, VS Code, nbclient, terminal."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell


def notebook_path(shell: InteractiveShell) -> str:
    """Absolute path of the notebook, or '' where nobody tells (nbclient, papermill, a terminal).

    For display and for the place of the database only, never for identity: after a rename the variable that
    jupyter_server sets is stale until the kernel restarts (ipykernel#1078).
    """
    told = str(shell.user_ns.get("__vsc_ipynb_file__") or os.environ.get("JPY_SESSION_NAME", ""))
    return told if Path(told).is_absolute() else ""


def kernel_id(shell: InteractiveShell) -> str:
    """Id of the Jupyter kernel, as its connection file is named; '' in a terminal."""
    kernel = getattr(shell, "kernel", None)
    config = getattr(getattr(kernel, "parent", None), "connection_file", "") or ""
    found = re.search(r"kernel-(.+)\.json$", str(config))
    return found[1] if found else ""
