"""A real Jupyter server for tests, with token and XSRF protection on."""

from __future__ import annotations

import http.cookiejar
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.kernels import ROOT, wait_until

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "a-token-of-the-tests"


class Answer(NamedTuple):
    """What a request came back with."""

    status: int
    body: bytes

    @property
    def json(self) -> Any:
        """The body, which must be JSON as browsers read it: no NaN, no Infinity."""

        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is no JSON")

        return json.loads(self.body, parse_constant=refuse)


class Server:
    """One ``jupyter server`` process on loopback, whose extension shows the databases below ``root``."""

    def __init__(self, root: Path, *arguments: str, **environment: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/nested/"
        own = root.parent / f"server-{port}"
        folders = {f"JUPYTER_{name}_DIR": str(own / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
        env = {name: value for name, value in os.environ.items() if not name.startswith("DURABLE_NB_")}
        env |= {"PYTHONPATH": str(ROOT), "IPYTHONDIR": str(own / "ipython")} | folders | environment
        own.mkdir()
        self.log = own / "log"
        command = [
            *(sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", "--ip=127.0.0.1"),
            *(f"--port={port}", "--ServerApp.port_retries=0", "--ServerApp.base_url=/nested/"),
            *(f"--ServerApp.root_dir={root}", f"--IdentityProvider.token={TOKEN}"),
            "--ServerApp.jpserver_extensions={'durable_nb.server': True, 'jupyterlab': False, 'notebook': False}",
            *arguments,
        ]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(command, env=env, cwd=own, stdout=log, stderr=log)
        wait_until(self._answers, describing=f"the server answers\n{self.log.read_text()}")

    def get(self, route: str, **query: Any) -> Answer:
        """GET one of our routes with the token."""
        return self.ask(route, query=query, headers={"Authorization": f"token {TOKEN}"})

    def post(self, route: str, **body: Any) -> Answer:
        """POST to one of our routes with the token."""
        return self.ask(route, body=body, headers={"Authorization": f"token {TOKEN}"})

    def ask(
        self,
        route: str,
        *,
        query: dict[str, Any] | None = None,
        body: Any = None,
        headers: dict[str, str] | None = None,
        opener: urllib.request.OpenerDirector | None = None,
    ) -> Answer:
        """A request, nothing added."""
        url = f"{self.url}durable-nb/api/{route}?{urllib.parse.urlencode(query or {})}"
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(url, data, headers or {})
        try:
            with (opener or urllib.request.build_opener()).open(request, timeout=60) as reply:
                return Answer(reply.status, reply.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, error.read())

    def logged_in(self) -> tuple[urllib.request.OpenerDirector, str]:
        """A browser that came with the token once, and the XSRF token it was given."""
        jar = http.cookiejar.CookieJar()
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
        opener.open(f"{self.url}login?token={TOKEN}", timeout=60).close()
        return opener, next(str(cookie.value) for cookie in jar if cookie.name == "_xsrf")

    def close(self) -> None:
        """Shut down as Ctrl-C twice does, and wait for it."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)

    def _answers(self) -> bool:
        assert self._process.poll() is None, self.log.read_text()
        try:
            return self.ask("status", headers={"Authorization": f"token {TOKEN}"}).status == 200
        except (urllib.error.URLError, OSError):
            return False
