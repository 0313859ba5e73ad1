"""Real PDFs over loopback HTTP, for the notebooks: the documentation of Python's library and of installed packages.

The texts are real, and so is the reading of them; the PDFs are set here, because these machines have no others offline.
``python notebooks/pdf_site.py --port 8808 --documents 40`` serves them in a process of its own; with PDFs of yours,
``--folder DIR``.
"""

from __future__ import annotations

import argparse
import io
import re
import sysconfig
import textwrap
import threading
import time
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

LINES, WIDTH = 58, 92
"""Of a page."""


def documents(limit: int) -> dict[str, str]:
    """Name → text of the first ``limit`` modules that say at least a page about themselves."""
    found: dict[str, str] = {}
    for folder in (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")):
        for path in sorted(Path(folder).rglob("*.py")):
            if "site-packages" in path.parts and folder == sysconfig.get_path("stdlib"):
                continue
            text = "\n\n".join(re.findall(r'"""(.+?)"""', path.read_text(errors="replace"), re.DOTALL))
            if 2_000 < len(text) < 40_000:
                name = ".".join(path.relative_to(folder).with_suffix("").parts)
                found.setdefault(f"{name}.pdf", textwrap.dedent(text))
            if len(found) == limit:
                return found
    return found


def pdf(title: str, text: str) -> bytes:
    """The text, set as a PDF of A4 pages."""
    from reportlab.lib.pagesizes import A4
    from reportlab.pdfgen.canvas import Canvas

    lines = [part for line in text.splitlines() for part in textwrap.wrap(line, WIDTH) or [""]]
    file = io.BytesIO()
    canvas = Canvas(file, pagesize=A4, invariant=True)
    canvas.setTitle(title)
    for start in range(0, len(lines), LINES):
        page = canvas.beginText(50, 790)
        page.setFont("Helvetica", 10)
        for line in lines[start : start + LINES]:
            page.textLine(line.encode("latin-1", "replace").decode("latin-1"))
        canvas.drawText(page)
        canvas.showPage()
    canvas.save()
    return file.getvalue()


class Site(ThreadingHTTPServer):
    """Serves ``/NAME.pdf``, and at ``/`` the addresses of all, one a line; ``asked`` lists what was fetched."""

    daemon_threads, request_queue_size, allow_reuse_address = True, 128, True

    def __init__(self, count: int, port: int = 0, folder: str | None = None) -> None:
        if folder is None:
            texts = documents(count)
            self.names = sorted(texts)
            self.read = lru_cache(maxsize=None)(lambda name: pdf(name, texts[name]))
        else:
            self.names = sorted(path.name for path in Path(folder).glob("*.pdf"))[:count]
            self.read = lambda name: (Path(folder) / name).read_bytes()
        self.asked: list[str] = []
        self.broken: set[str] = set()
        self.delay_s = 0.0
        super().__init__(("127.0.0.1", port), _Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing on stderr when a kernel dies while it reads."""

    @property
    def address(self) -> str:
        """Of the list."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def urls(self) -> list[str]:
        """Of the PDFs."""
        return [f"{self.address}/{name}" for name in self.names]


class _Answer(BaseHTTPRequestHandler):
    server: Site
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        name = self.path[1:]
        known = not name or name in self.server.names
        body = "\n".join(self.server.urls).encode() if not name else self.server.read(name) if known else b""
        if name:
            self.server.asked.append(name)
            time.sleep(self.server.delay_s)
        if name in self.server.broken:
            body = b"%PDF-1.4\nnot a PDF"
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Nothing on stderr."""


def main() -> None:
    """Serve until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8808)
    parser.add_argument("--documents", type=int, default=40)
    parser.add_argument("--folder")
    options = parser.parse_args()
    site = Site(options.documents, options.port, options.folder)
    print(f"{len(site.names)} PDFs at {site.address}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
