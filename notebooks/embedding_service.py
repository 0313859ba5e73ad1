"""A service with a limit, on this machine: what the client of OpenAI asks for embeddings. It charges by the token."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Service(ThreadingHTTPServer):
    """Answers ``per_second`` requests a second, from a bucket of as many; refuses the others with 429 and ``Retry-After``."""

    daemon_threads, request_queue_size, allow_reuse_address = True, 128, True

    def __init__(self, per_second: int, port: int = 0) -> None:
        self.answered = self.refused = self.tokens = 0
        self._per_second, self._left, self._at, self.lock = (
            per_second,
            float(per_second),
            time.monotonic(),
            threading.Lock(),
        )
        super().__init__(("127.0.0.1", port), _Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        """Of the service, for ``base_url``."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def take(self) -> bool:
        """Whether one more request is answered now."""
        with self.lock:
            now = time.monotonic()
            self._left, self._at = min(self._per_second, self._left + (now - self._at) * self._per_second), now
            is_answered = self._left >= 1
            self._left -= is_answered
            self.answered += is_answered
            self.refused += not is_answered
            return is_answered


class _Answer(BaseHTTPRequestHandler):
    server: Service
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
        texts = [texts] if isinstance(texts, str) else texts
        if not self.server.take():
            self._reply(429, {"error": {"message": "slow down"}})
            return
        tokens = sum(len(text) // 4 for text in texts)
        with self.server.lock:
            self.server.tokens += tokens
        vectors = [[byte / 255 for byte in hashlib.sha256(text.encode()).digest()] for text in texts]
        data = [{"object": "embedding", "index": number, "embedding": vector} for number, vector in enumerate(vectors)]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        self._reply(200, {"object": "list", "model": "small", "data": data, "usage": usage})

    def _reply(self, status: int, answer: dict[str, object]) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if status == 429:
            self.send_header("Retry-After", "0.5")
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Nothing on stderr."""
