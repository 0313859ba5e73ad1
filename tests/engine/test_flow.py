"""A real server with a limit, asked by real clients: no document is lost, and few requests are refused."""

from __future__ import annotations

import asyncio
import threading
import time
import urllib.request
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import httpx
import openai
import pytest
import tenacity
import tenacity.asyncio
from aiolimiter import AsyncLimiter
from langchain_core.rate_limiters import InMemoryRateLimiter

from durable_nb import run, step
from durable_nb.engine import runs
from durable_nb.engine.session import current as session
from durable_nb.errors import ConfigError, RunStopped, StepFailed
from durable_nb.records import State
from tests.kernels import wait_until
from tests.matrix import IS_WHOLE, usual

if TYPE_CHECKING:
    from collections.abc import Iterator

    from durable_nb.store import Store

pytestmark = pytest.mark.usefixtures("store")
PER_S = 40
DOCUMENTS = 80
PATIENCE_S = 60
"""Of the clients: the machine that runs the tests may be busy."""


class Service(ThreadingHTTPServer):
    """Answers so many requests a second, from a bucket of as many; refuses the others with 429 and ``Retry-After``."""

    daemon_threads, request_queue_size = True, 128

    def __init__(self, port: int = 0, per_s: float = PER_S) -> None:
        super().__init__(("127.0.0.1", port), Answer)
        self.answered, self.refused, self.headers = 0, 0, {"Retry-After": "0.5"}
        self.is_down = False
        self.per_s, self._left, self._at, self._lock = per_s, per_s, time.monotonic(), threading.Lock()

    @property
    def url(self) -> str:
        """Of the server."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def take(self) -> bool:
        """Whether one more request is answered now."""
        with self._lock:
            now = time.monotonic()
            self._left, self._at = min(self.per_s, self._left + (now - self._at) * self.per_s), now
            is_answered = self._left >= 1
            self._left -= is_answered
            self.answered += is_answered
            self.refused += not is_answered
            return is_answered


class Answer(BaseHTTPRequestHandler):
    """A text comes back in capitals; as an embedding for the client of OpenAI."""

    server: Service
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """One document."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.is_down:
            self.close_connection = True  # one that was kept alive
        elif not self.server.take():
            self._reply(429, b'{"error": {"message": "slow down"}}', self.server.headers)
        elif self.path.endswith("/embeddings"):
            self._reply(
                200,
                b'{"object": "list", "model": "m", "data": [{"object": "embedding", "index": 0, "embedding": [1.5]}]}',
            )
        else:
            self._reply(200, body.upper())

    def _reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Length": str(len(body)),
            "Content-Type": "application/json",
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Nothing on stderr."""


@contextmanager
def served(per_s: float = PER_S) -> Iterator[Service]:
    """A server that listens."""
    server = Service(per_s=per_s)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def service() -> Iterator[Service]:
    """A server of its own for each test."""
    with served() as server:
        yield server


MOST_REFUSED = 0.08
"""Of all requests, beside other tests. Aimed at is 0.05, which ``python -m tests.bench.limits`` measures where nothing else runs;
when all asked at once 0.085 were refused."""


def range_of_documents(count: int) -> list[str]:
    """Texts that differ."""
    return [f"document {i}" for i in range(count)]


DOCS = range_of_documents(DOCUMENTS)
EXPECTED = [text.upper() for text in DOCS]


def test_threads_lose_nothing_against_a_limit(service: Service) -> None:
    """32 at once, no option given: who is refused waits as long as it is asked to, and uses up no attempt."""

    @step
    def shout(text: str) -> str:
        request = urllib.request.Request(service.url, data=text.encode(), method="POST")
        with urllib.request.urlopen(request) as reply:
            return str(reply.read().decode())

    assert EXPECTED == list(shout.map(DOCS, workers=32))
    assert service.answered == DOCUMENTS
    assert 0 < service.refused < DOCUMENTS


def test_coroutines_lose_nothing_against_a_limit(service: Service) -> None:
    """The same on a loop, with httpx."""

    @step
    async def shout(text: str) -> str:
        async with httpx.AsyncClient(timeout=PATIENCE_S, verify=False) as client:  # no certificates to read
            return (await client.post(service.url, content=text)).raise_for_status().text

    assert EXPECTED == list(asyncio.run(shout.amap(DOCS, workers=32)))
    assert service.answered == DOCUMENTS


def embed_on_threads(service: Service, documents: list[str], workers: int) -> None:
    """``map`` with the client of OpenAI; every document has its vector then."""
    client = openai.OpenAI(api_key="k", base_url=service.url, max_retries=0, timeout=PATIENCE_S)

    @step
    def embed(text: str) -> list[float]:
        return client.embeddings.create(input=text, model="m", encoding_format="float").data[0].embedding

    assert [[1.5]] * len(documents) == list(embed.map(documents, workers=workers))


def embed_on_a_loop(service: Service, documents: list[str], workers: int) -> None:
    """The same with ``amap`` and its coroutines."""

    async def embedded() -> list[list[float]]:
        async with openai.AsyncOpenAI(api_key="k", base_url=service.url, max_retries=0, timeout=PATIENCE_S) as client:

            @step
            async def embed(text: str) -> list[float]:
                answer = await client.embeddings.create(input=text, model="m", encoding_format="float")
                return answer.data[0].embedding

            return list(await embed.amap(documents, workers=workers))

    assert [[1.5]] * len(documents) == asyncio.run(embedded())


def test_client_of_openai_loses_nothing() -> None:
    """200 documents, 20 a second, no option given: its own two retries alone lose most of them. Hardly one asks in vain."""
    with served(20) as service:
        embed_on_threads(service, range_of_documents(200), 8)

        assert service.answered == 200
        assert service.refused <= MOST_REFUSED * (200 + service.refused)


def test_client_of_openai_loses_nothing_on_a_loop() -> None:
    """The same with its coroutines, of which 32 run at once."""
    with served(20) as service:
        embed_on_a_loop(service, range_of_documents(200), 32)

        assert service.answered == 200
        assert service.refused <= MOST_REFUSED * (200 + service.refused)


def test_a_service_that_does_not_say_how_long(service: Service) -> None:
    """Without ``Retry-After`` the waits double."""
    service.headers = {}

    @step
    def shout(text: str) -> str:
        return httpx.post(service.url, content=text, timeout=PATIENCE_S, verify=False).raise_for_status().text

    assert EXPECTED == list(shout.map(DOCS, workers=32))


@pytest.mark.parametrize(
    "limit",
    [
        f"{PER_S * 60 * 0.9}/min",
        InMemoryRateLimiter(requests_per_second=PER_S * 0.9, check_every_n_seconds=0.01, max_bucket_size=1),
    ],
    ids=["written", "langchain"],
)
def test_threads_below_the_limit_are_never_refused(service: Service, limit: Any) -> None:
    """With a limit of ours, or one of somebody else's."""

    @step(rate_limit=limit)
    def shout(text: str) -> str:
        return httpx.post(service.url, content=text, timeout=PATIENCE_S, verify=False).raise_for_status().text

    assert EXPECTED == list(shout.map(DOCS, workers=32))
    assert (service.answered, service.refused) == (DOCUMENTS, 0)


@pytest.mark.parametrize("kind", usual(["written", "langchain", "aiolimiter"], "aiolimiter"))
def test_coroutines_below_the_limit_are_never_refused(service: Service, kind: str) -> None:
    """On a loop, which no limiter may block."""

    async def everything() -> list[str]:
        limits = {
            "written": f"{PER_S * 0.9}/s",
            "langchain": InMemoryRateLimiter(
                requests_per_second=PER_S * 0.9, check_every_n_seconds=0.01, max_bucket_size=1
            ),
            "aiolimiter": AsyncLimiter(PER_S * 0.5, 1),
        }

        @step(rate_limit=limits[kind])
        async def shout(text: str) -> str:
            async with httpx.AsyncClient(timeout=PATIENCE_S, verify=False) as client:
                return (await client.post(service.url, content=text)).raise_for_status().text

        return list(await shout.amap(DOCS, workers=32))

    assert EXPECTED == asyncio.run(everything())
    assert (service.answered, service.refused) == (DOCUMENTS, 0)


def most_in_a_second(starts: list[float]) -> int:
    """Of sorted times, how many at most are within a second.

    A process that gets no processor for 0.4 s starts then what was due meanwhile: 14 are right where 10 are allowed.
    """
    return max(sum(1 for other in starts if at <= other < at + 1) for at in starts)


@pytest.mark.parametrize("limit", usual(["rate", "tokens", "limiter"], "rate"))
@pytest.mark.parametrize("is_async", [False, True], ids=["threads", "loop"])
def test_a_pause_saves_up_no_starts(is_async: bool, limit: str) -> None:
    """After Resume calls go on at the pace that is allowed: what was allowed meanwhile is gone."""
    starts: list[float] = []
    options: dict[str, Any] = {
        "rate": {"rate_limit": "10/s"},
        "tokens": {"token_limit": "1000/s", "tokens": lambda _: 100},
        "limiter": {"rate_limit": InMemoryRateLimiter(requests_per_second=10, check_every_n_seconds=0.01)},
    }[limit]

    @step(**options)
    def plain(n: int) -> int:
        starts.append(time.monotonic())
        return n

    @step(**options)
    async def coroutine(n: int) -> int:
        starts.append(time.monotonic())
        return n

    def steer() -> None:
        wait_until(lambda: len(starts) >= 3, describing="calls are made")
        (live,) = session.live
        live.control("pause")
        time.sleep(2.5)
        live.control("resume")

    steering = threading.Thread(target=steer)
    steering.start()
    if is_async:
        asyncio.run(coroutine.amap(range(30), workers=16))
    else:
        plain.map(range(30), workers=16)
    steering.join()

    assert 30 == len(starts)
    assert most_in_a_second(sorted(starts)) <= 14


def test_workers_that_are_busy_save_up_no_starts() -> None:
    """Of worker processes: calls that had to wait for one do not all begin when the slow ones end."""

    @step(rate_limit="10/s")
    def slow_at_first(n: int) -> float:
        at = time.time()
        time.sleep(2.5 if n < 8 else 0.05)
        return at

    starts = sorted(slow_at_first.map(range(40), workers=8, executor="processes"))

    assert most_in_a_second(starts) <= 14


@pytest.mark.parametrize("is_async", [False, True], ids=["threads", "loop"])
def test_fewer_calls_at_a_time_do_not_slow_the_pace(is_async: bool) -> None:
    """32 wait for one of four places: each is given its time once, when it can use it. So 96 take six seconds, and not ten."""

    @step(rate_limit="20/s")
    def plain(n: int) -> int:
        time.sleep(0.25)
        return n

    @step(rate_limit="20/s")
    async def coroutine(n: int) -> int:
        await asyncio.sleep(0.25)
        return n

    with run("r"):
        session.live[0].gate.limit(workers=4)
        began = time.monotonic()
        if is_async:
            asyncio.run(coroutine.amap(range(96), workers=32))
        else:
            plain.map(range(96), workers=32)

    assert time.monotonic() - began < 8


class Odd:
    """A limiter of somebody else that is not as it should be."""

    def __init__(self, kind: str) -> None:
        self.kind, self.awaited = kind, 0

    def acquire(self) -> Any:
        if self.kind == "fails":
            raise ValueError("no connection to the counter")
        return self._soon()

    async def _soon(self) -> None:
        self.awaited += 1


def test_a_limiter_that_fails_is_told() -> None:
    """No document is to blame: the map ends, and says what it was."""
    with pytest.raises(ConfigError, match=r"rate_limit=, Odd, failed: ValueError\('no connection.*is saved"):
        step(rate_limit=Odd("fails"))(str.upper).map(["a"])


def test_a_limiter_that_gives_a_coroutine() -> None:
    """It is awaited, or refused where that cannot be; it never limits nothing without a word."""

    async def upper(text: str) -> str:
        return text.upper()

    limiter = Odd("coroutine")
    found = asyncio.run(step(rate_limit=limiter)(upper).amap(["a", "b"]))

    assert ["A", "B"] == list(found)
    assert 2 == limiter.awaited
    with pytest.raises(ConfigError, match="acquire.. of the rate_limit, Odd, has to be awaited"):
        step(rate_limit=limiter, name="plain")(str.upper).map(["a"])


@pytest.mark.parametrize("lock", [threading.Semaphore(2), threading.Lock(), asyncio.Semaphore(2)])
def test_a_lock_is_no_limiter(lock: Any) -> None:
    """Nobody would release it: the map would hang."""
    with pytest.raises(ConfigError, match="limits calls at a time.*workers=2"):
        step(rate_limit=lock)(str.upper)


def test_what_was_dropped_holds_up_nobody() -> None:
    """After a stream that was left with calls in line, the next one starts soon, and the limit is still kept."""
    starts: list[float] = []

    @step(rate_limit="5/s", version="1")
    def shout(text: str) -> str:
        starts.append(time.monotonic())
        return text.upper()

    with shout.stream(DOCS, workers=32) as stream:
        next(stream)
        next(stream)
    left = time.monotonic()
    assert ["NEXT"] == list(shout.map(["next"]))
    assert starts[-1] - left < 3  # 31 in line take six seconds
    for number in range(3):
        with shout.stream(f"{number} {doc}" for doc in DOCS) as stream:
            next(stream)
            next(stream)
    assert starts[-1] - starts[0] > (len(starts) - 1) / 5 - 0.1


def test_a_call_that_is_cancelled_holds_up_nobody() -> None:
    """On a loop: what was in line when an ``amap`` was cancelled is not waited for."""

    @step(rate_limit="5/s", version="1")
    async def shout(text: str) -> str:
        return text.upper()

    async def cancelled() -> float:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(shout.amap(DOCS), 0.5)
        started = time.monotonic()
        await shout.amap(["next"])
        return time.monotonic() - started

    assert asyncio.run(cancelled()) < 3


@pytest.mark.parametrize("batch", [None, 8])
def test_a_limiter_that_is_awaited_needs_an_async_step(batch: int | None) -> None:
    """On threads it would limit nothing: it is refused at ``@step`` and in ``options``, with what to write."""

    def shout(text: Any) -> Any:
        return text

    async def shout_async(text: Any) -> Any:
        return text

    limit = AsyncLimiter(20, 1)

    with pytest.raises(ConfigError, match=r"shout is not async.*AsyncLimiter.*async def.*20/s"):
        step(shout, rate_limit=limit, batch=batch)
    with pytest.raises(ConfigError, match="shout is not async"):
        step(shout, batch=batch).options(rate_limit=limit)
    assert step(shout_async, rate_limit=limit, batch=batch).flow is not None


def test_tokens_are_counted_by_the_function_that_is_given() -> None:
    """Six documents of 10 tokens at 100 a second: half a second for what follows the first."""
    started = time.monotonic()

    @step(token_limit="100/s", tokens=len)
    def shout(text: str) -> str:
        return text.upper()

    assert ["X" * 10] * 6 == list(shout.options(version="1").map(["x" * 10] * 6, workers=6))
    assert time.monotonic() - started >= 0.5


def test_tokens_of_a_batch_are_those_of_its_documents() -> None:
    """``tokens`` gets each document by itself, with what stands before it, as without ``batch``."""
    started = time.monotonic()

    class Shouter:
        rest = 2

        @step(token_limit="100/s", tokens=lambda self, text: self.rest + len(text), batch=5, version="1")
        def shout(self, texts: list[str]) -> list[str]:
            return [text.upper() for text in texts]

    assert ["X" * 10] * 10 == list(Shouter().shout.map(["x" * 10] * 10))
    assert time.monotonic() - started >= 0.6


@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize("is_async", [False, True])
def test_what_counts_tokens_is_told_when_it_fails(batch: int | None, is_async: bool) -> None:
    """The map stops and names ``tokens``, the step and the document; no document is to blame, and nothing is called."""
    called: list[Any] = []

    def shout(text: Any) -> Any:
        called.append(text)
        return text

    async def shout_async(text: Any) -> Any:
        return shout(text)

    options: dict[str, Any] = {"token_limit": "100/s", "tokens": lambda doc: len(doc["text"]), "batch": batch}
    counted: Any = step(shout_async if is_async else shout, name="shout", version="1", **options)

    with pytest.raises(ConfigError, match="shout: the function given as tokens= failed on document 0: TypeError"):
        if is_async:
            asyncio.run(counted.amap(DOCS, on_error="collect"))
        else:
            counted.map(DOCS, on_error="collect")
    assert called == []


def test_a_batch_is_one_answer_of_the_service() -> None:
    """The pace that is learned from refusals is of calls: ten documents in one of them count once."""

    @step(batch=10)
    def shout(texts: list[str]) -> list[str]:
        return [text.upper() for text in texts]

    assert EXPECTED == list(shout.map(DOCS))
    assert shout.flow is not None
    assert shout.flow.begun == DOCUMENTS // 10 - 1  # the first is tried out alone


def test_options_share_a_limit_that_is_the_same() -> None:
    """Both ask the same service: another time-out makes no second allowance."""

    @step(rate_limit="10/s", retries=1)
    def shout(text: str) -> str:
        return text

    assert shout.options(timeout=5).flow is shout.flow
    assert shout.options(timeout=5).retry == shout.retry
    assert shout.options(rate_limit="20/s").flow is not shout.flow


def test_rules_of_tenacity_say_when_to_try_again() -> None:
    """Its ``retry``, ``stop`` and ``wait``; an error that they do not name is final at once."""
    attempts: list[str] = []

    @step(
        retries=tenacity.Retrying(
            stop=tenacity.stop_after_attempt(3),
            wait=tenacity.wait_none(),
            retry=tenacity.retry_if_exception_type(OSError),
        )
    )
    def read(path: str) -> str:
        attempts.append(path)
        raise OSError(path) if path == "slow" else KeyError(path)

    results = read.map(["slow", "gone"], workers=1, on_error="collect")

    assert ["slow", "slow", "slow", "gone"] == attempts
    assert [3, 1] == [failure.attempts for failure in results.failed]


@pytest.mark.parametrize("stop", [tenacity.stop_after_delay(2), tenacity.stop_before_delay(2)])
@pytest.mark.parametrize("is_async", [False, True])
def test_rules_of_tenacity_say_when_to_give_up(stop: Any, is_async: bool) -> None:
    """After so many seconds since the first attempt, here of attempts that take none, half a second apart."""

    def down(path: str) -> str:
        raise ConnectionError(path)

    async def down_async(path: str) -> str:
        raise ConnectionError(path)

    rules = tenacity.Retrying(stop=stop | tenacity.stop_after_attempt(20), wait=tenacity.wait_fixed(0.5))
    one: Any = step(down_async if is_async else down, retries=rules, version="1")
    results = asyncio.run(one.amap(["a"], on_error="collect")) if is_async else one.map(["a"], on_error="collect")

    assert 2 <= results.failed[0].attempts <= 5


@pytest.mark.parametrize(
    "rules",
    [
        {"retry": tenacity.retry_if_result(bool)},
        {"retry": tenacity.retry_if_not_result(bool)},
        {"retry": tenacity.retry_if_exception_type(OSError) | tenacity.retry_if_result(bool)},
        {"retry": tenacity.retry_if_exception_type(OSError) & tenacity.retry_if_not_result(bool)},
        {"retry": tenacity.retry_any(tenacity.retry_all(tenacity.retry_if_result(bool)))},
        {"retry": tenacity.retry_unless_exception_type(OSError)},
        {"retry": tenacity.retry_if_not_exception_message("late")},
        {"retry": tenacity.asyncio.retry_if_exception(bool)},
        {"retry_error_callback": bool},
    ],
)
def test_rules_of_tenacity_that_would_be_ignored(rules: dict[str, Any]) -> None:
    """What they are about, a result or what stands in for one, is told where they are written."""

    def any_function(text: str) -> str:
        return text

    with pytest.raises(ConfigError, match="retries= has a? ?retry_"):
        step(any_function, retries=tenacity.Retrying(stop=tenacity.stop_after_attempt(3), **rules))
    with pytest.raises(ConfigError, match="retries= has"):
        step(any_function).options(retries=tenacity.AsyncRetrying(**rules))


def test_rules_of_tenacity_that_fail(store: Store) -> None:
    """The document has failed with the error that it raised, is recorded so, and a note says what the rules did."""
    rules = tenacity.Retrying(retry=tenacity.retry_if_exception(lambda error: error.response.status_code == 500))

    @step(retries=rules)
    def ask(n: int) -> int:
        if n == 1:
            raise ConnectionError("reset by peer")
        return n

    found = ask.map(range(3), on_error="collect")
    (failure,) = store.failures(store.run("ask").id)

    error = found.errors[1].__cause__

    assert isinstance(error, ConnectionError)
    assert "ConnectionError: reset by peer" == failure.error
    assert "retries= failed on it: AttributeError" in error.__notes__[0]
    assert (State.FAILED, 1) == (store.run("ask").state, store.snapshot("ask").failed)


def test_a_stop_is_not_kept_waiting(service: Service) -> None:
    """A service that asks to wait for minutes: the panel says so, and Stop ends the map at once."""
    service.headers, service._left = {"Retry-After": "500"}, -1e9

    @step
    def shout(text: str) -> str:
        return httpx.post(service.url, content=text, timeout=PATIENCE_S, verify=False).raise_for_status().text

    with runs.opened("shouting") as live:

        def stop() -> None:
            wait_until(lambda: "asked to wait" in live.gate.waiting_for, describing="the run waits for the service")
            live.stop()

        threading.Thread(target=stop).start()
        started = time.monotonic()
        with pytest.raises(RunStopped):
            shout.map(DOCS[:8], workers=4)
        assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "options",
    [{"rate_limit": "fast"}, {"rate_limit": 5}, {"token_limit": "1M/min"}, {"retries": "3"}, {"limit": "20/s"}],
)
def test_options_that_are_not_possible(options: dict[str, Any]) -> None:
    """They are refused where they stand, with what to write."""

    def any_function(text: str) -> str:
        return text

    with pytest.raises((ConfigError, TypeError)):
        step(**options)(any_function)


def test_a_failure_is_a_failure() -> None:
    """An error that is not about too many requests uses up its attempts as before."""

    @step(retries=1, rate_limit="100/s")
    def broken(text: str) -> str:
        raise ValueError(text)

    with pytest.raises(StepFailed, match="2 attempts"):
        broken.map(["a"])


DOWN_S = 30.0 if IS_WHOLE else 4.0


def test_a_service_that_is_down_for_a_while_loses_nothing() -> None:
    """Nobody listens for a while in the middle: attempts are made again, later and later, and every document is done."""
    ports: list[int] = []
    up = threading.Event()

    def serve() -> None:
        for seconds in (DOWN_S, 0.0):
            server = Service(ports[0] if ports else 0)
            ports.append(server.server_address[1])
            threading.Thread(target=server.serve_forever, daemon=True).start()
            up.set()
            while server.answered < DOCUMENTS // 4:
                time.sleep(0.01)
            if seconds:
                server.is_down = True
                server.shutdown()
                server.server_close()
                time.sleep(seconds)

    threading.Thread(target=serve, daemon=True).start()
    up.wait()
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{ports[0]}", api_key="none", max_retries=0, timeout=PATIENCE_S)
    attempts: Counter[str] = Counter()

    @step(retries=12, retry_on=openai.APIConnectionError, version="1")
    def embed(text: str) -> float:
        attempts[text] += 1
        return client.embeddings.create(model="m", input=text, encoding_format="float").data[0].embedding[0]

    assert [1.5] * DOCUMENTS == embed.map(DOCS, workers=8)
    assert max(attempts.values()) > 1
