"""A real JupyterLab in a real Chromium, for tests.

::

    with Lab(notebooks=tmp_path / "nb", state=tmp_path / "state") as lab, chromium() as context:
        write_notebook(lab.notebooks / "a.ipynb", ["1 + 1"])
        page = lab.open(context, "a.ipynb")
        page.run(0)
        page.outputs(0)  # ["2"]

The server listens on a free loopback port, without a token unless one is given, and keeps its configuration, signatures,
runtime files and workspaces under ``state``: nothing of the user is read or written. The same ``state`` again means the
same trust. ``lab.kill(); lab.start()`` is a server that died and came back where it was.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from playwright.sync_api import BrowserContext, Locator

CHROMIUM = Path("/usr/bin/chromium")
CHECKOUT = Path(__file__).parents[2]
_SETTINGS: dict[str, dict[str, Any]] = {
    # Cells off the screen would otherwise not be in the document.
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}
# Running a cell before all of this is true opens the modal "Select Kernel", and nothing happens any more.
_READY = """() => {
  const context = window.jupyterapp?.shell.currentWidget?.context;
  const kernel = context?.sessionContext?.session?.kernel;
  return !!context?.isReady && context.sessionContext.isReady
    && kernel?.status === 'idle' && kernel.connectionStatus === 'connected';
}"""
_COMMAND = "([name, args]) => window.jupyterapp.commands.execute(name, args).then(() => 0)"
_RUN = """(index) => {
  const notebook = window.jupyterapp.shell.currentWidget.content;
  notebook.activeCellIndex = index;
  notebook.deselectAll();
  window.durableRan = window.durableRan ?? {};
  window.durableRan[index] = false;
  window.jupyterapp.commands.execute('notebook:run-cell').then(() => { window.durableRan[index] = true; });
}"""

_SOURCE = """([index, code]) => {
  const { sharedModel } = window.jupyterapp.shell.currentWidget.content.widgets[index].model;
  if (code !== null) sharedModel.setSource(code);
  return sharedModel.getSource();
}"""


def require_chromium() -> None:
    """Skip the calling test without Chromium or Playwright; on CI their absence is a failure."""
    missing = [module for module in ("playwright", "jupyterlab") if find_spec(module) is None]
    missing += [] if CHROMIUM.exists() else [str(CHROMIUM)]
    if not missing:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"browser tests need {', '.join(missing)}")
    pytest.skip(f"browser tests need {', '.join(missing)}")


def wait_until(condition: Callable[[], Any], *, describing: str, seconds: float = 30.0) -> Any:
    """The first true value of ``condition``; an AssertionError naming what was waited for after ``seconds``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"not within {seconds:g} s: {describing}")


def patience() -> float:
    """How many times longer than on a machine of its own something may take: the load of each core, at least 1."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def write_notebook(path: Path, cells: Sequence[str]) -> None:
    """A notebook of code cells without outputs, for the Python kernel of this environment."""
    from nbformat import v4, write

    notebook = v4.new_notebook(cells=[v4.new_code_cell(source) for source in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    write(notebook, str(path))


def saved_outputs(path: Path, index: int) -> list[dict[str, Any]]:
    """The outputs of a cell as they stand in the file."""
    cell: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["cells"][index]
    return list(cell["outputs"])


@contextmanager
def chromium(**options: Any) -> Iterator[BrowserContext]:
    """A headless browser; ``options`` go to Playwright's ``new_context`` (viewport, color_scheme, …)."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(30_000)
        yield context
        browser.close()


class Lab:
    """A JupyterLab or Notebook 7 server; its kernels can import the checkout.

    ``notebooks`` is the server's root folder. ``state`` is where Jupyter keeps everything: another folder makes every
    notebook untrusted. ``env`` goes to the server and its kernels, ``settings`` (by plugin id) to JupyterLab, which does
    without the extensions that are ``disabled``. With a ``token`` XSRF is checked too, as it is for users.
    """

    def __init__(
        self,
        notebooks: Path,
        *,
        state: Path,
        app: Literal["lab", "notebook"] = "lab",
        token: str = "",
        env: Mapping[str, str] | None = None,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
        disabled: Sequence[str] = (),
    ) -> None:
        self.notebooks, self.state, self.app, self.token = notebooks, state, app, token
        self.url = ""
        self._env, self._disabled = dict(env or {}), {"disabledExtensions": dict.fromkeys(disabled, True)}
        self._settings = {**_SETTINGS, **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and return when it answers; again under the same address."""
        self.notebooks.mkdir(parents=True, exist_ok=True)
        for plugin, values in self._settings.items():
            package, _, name = plugin.partition(":")
            folder = self.state / "settings" / package
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.jupyterlab-settings").write_text(json.dumps(values))
        config = self.state / "config" / "labconfig"
        config.mkdir(parents=True, exist_ok=True)
        (config / "page_config.json").write_text(json.dumps(self._disabled))
        if not self.url:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        module, trait = {"lab": ("jupyterlab", "LabApp"), "notebook": ("notebook", "JupyterNotebookApp")}[self.app]
        command = [sys.executable, "-m", module, "--no-browser", "--allow-root", "--ip=127.0.0.1"]
        command += [f"--port={self.url.rpartition(':')[2]}", f"--IdentityProvider.token={self.token}"]
        command += [] if self.token else ["--ServerApp.disable_check_xsrf=True"]
        command += [f"--ServerApp.root_dir={self.notebooks}", f"--{trait}.expose_app_in_browser=True"]
        with (self.state / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env=self._environment(), cwd=self.notebooks, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(self._answers, describing=f"JupyterLab answers (log: {self.state / 'server.log'})", seconds=60)

    def stop(self) -> None:
        """End the server and its kernels."""
        import psutil

        if self._process is None:
            return
        children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        self._process = None

    def kill(self) -> None:
        """SIGKILL the server and its kernels, as when the machine goes down."""
        import psutil

        assert self._process is not None
        for process in [psutil.Process(self._process.pid), *psutil.Process(self._process.pid).children(recursive=True)]:
            process.kill()
        self._process.wait()
        self._process = None

    def kill_server(self) -> None:
        """SIGKILL the server alone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def api(self, path: str, *, root: str = "api") -> Any:
        """What ``GET /{root}/{path}`` answers."""
        request = urllib.request.Request(f"{self.url}/{root}/{path}")
        if self.token:
            request.add_header("Authorization", f"token {self.token}")
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read())

    def kernel_pid(self, notebook: str) -> int:
        """Process id of the kernel of a notebook, named as in ``open``."""
        import psutil

        assert self._process is not None
        kernel_id = next(s["kernel"]["id"] for s in self.api("sessions") if s["path"] == notebook)
        children = psutil.Process(self._process.pid).children(recursive=True)
        return next(int(child.pid) for child in children if kernel_id in " ".join(child.cmdline()))

    def kill_kernel(self, notebook: str) -> None:
        """SIGKILL, as the out-of-memory killer would; Lab notices within about 3 s and starts another kernel."""
        os.kill(self.kernel_pid(notebook), signal.SIGKILL)

    def open(self, context: BrowserContext, notebook: str) -> NotebookPage:
        """The notebook in a new page, its kernel connected and idle."""
        return NotebookPage(self, context, notebook)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.state / "server.log").read_text(errors="replace")[-3000:]
        with suppress(OSError):
            return bool(self.api(""))
        return False

    def _environment(self) -> dict[str, str]:
        folders = {
            "JUPYTER_CONFIG_DIR": "config",
            "JUPYTER_DATA_DIR": "data",
            "JUPYTER_RUNTIME_DIR": "runtime",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
            "IPYTHONDIR": "ipython",
        }
        paths = filter(None, (os.environ.get("PYTHONPATH"), str(CHECKOUT)))
        own = {name: str(self.state / folder) for name, folder in folders.items()}
        return {**os.environ, **own, "PYTHONPATH": os.pathsep.join(paths), **self._env}


class NotebookPage:
    """One notebook in one browser page; cells are numbered from 0.

    ``page`` is Playwright's, for everything that has no method here; ``console`` is what the page logged.
    """

    def __init__(self, lab: Lab, context: BrowserContext, notebook: str) -> None:
        self.lab, self.notebook = lab, notebook
        self.console: list[str] = []
        self.page = context.new_page()
        self.page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.console.append(f"pageerror: {error.stack or error}"))
        where = f"lab/tree/{notebook}?reset&" if lab.app == "lab" else f"notebooks/{notebook}?"
        self.page.goto(f"{lab.url}/{where}token={lab.token}")
        self.wait_ready()

    def wait_ready(self) -> None:
        """Return when the kernel is connected and idle."""
        self.page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
        self.page.wait_for_function(_READY, timeout=60_000)

    def cell(self, index: int) -> Locator:
        """The element of a cell."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def run(self, index: int, *, wait: bool = True, seconds: float = 60.0) -> None:
        """Run a cell; with ``wait=False`` return while it is still running."""
        self.page.evaluate(_RUN, index)
        if wait:
            self.wait_done(index, seconds=seconds)

    def wait_done(self, index: int, *, seconds: float = 60.0) -> None:
        """Return when the cell started by ``run`` has ended."""
        self.page.wait_for_function("(index) => window.durableRan[index] === true", arg=index, timeout=seconds * 1000)

    def errors(self) -> list[str]:
        """What our extension did wrong in the page: what it said itself, and errors thrown in one of its files."""
        thrown = re.compile(r"^[^\n]*(\n\s+at [^\n]*durable-nb/static|durable-nb:)")
        return [line for line in self.console if thrown.search(line)]

    def outputs(self, index: int) -> list[str]:
        """The text of each output the reader can see, hidden and empty ones left out."""
        areas = self.cell(index).locator(".jp-OutputArea-output")
        seen = (areas.nth(n).inner_text().strip() for n in range(areas.count()) if areas.nth(n).is_visible())
        return list(filter(None, seen))

    def command(self, name: str, **arguments: Any) -> None:
        """Execute a command of JupyterLab and wait for it."""
        self.page.evaluate(_COMMAND, [name, arguments])

    def source(self, index: int) -> str:
        """The code of a cell."""
        return str(self.page.evaluate(_SOURCE, [index, None]))

    def write(self, index: int, code: str) -> None:
        """Replace the code of a cell, as somebody who types."""
        self.page.evaluate(_SOURCE, [index, code])

    def save(self) -> Path:
        """Save the notebook; where it lies."""
        self.command("docmanager:save")
        return self.lab.notebooks / self.notebook

    def kill_kernel(self) -> None:
        """SIGKILL the kernel, and return when the page shows Lab's dialogue about it, which is then closed."""
        self.lab.kill_kernel(self.notebook)
        button = self.page.locator(".jp-Dialog .jp-mod-accept")
        button.wait_for()
        button.click()
        self.page.wait_for_function(_READY, timeout=60_000)

    def restart_kernel(self) -> None:
        """Restart as from the menu, outputs kept."""
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget.context.sessionContext.restartKernel()")
        self.page.wait_for_function(_READY, timeout=60_000)

    def theme(self, name: str) -> None:
        """Change to ``JupyterLab Light`` or ``JupyterLab Dark``."""
        self.command("apputils:change-theme", theme=name)
        self.page.locator(f'body[data-jp-theme-name="{name}"]').wait_for(state="attached")
        self.page.locator("#jupyterlab-splash").wait_for(state="detached")  # a veil while style sheets load

    def screenshot(self, path: Path, index: int | None = None) -> Path:
        """A picture of the page, or of one cell."""
        target = self.page if index is None else self.cell(index)
        target.screenshot(path=str(path))
        return path

    def close(self) -> None:
        """Shut the kernel down and close the page."""
        with suppress(Exception):  # the page may be gone already; the server ends its kernels anyway
            self.page.evaluate("() => window.jupyterapp.shell.currentWidget.context.sessionContext.shutdown()")
        self.page.close()
