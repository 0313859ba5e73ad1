"""Errors of real clients that say "later", and errors that do not."""

from __future__ import annotations

import email.message
import urllib.error
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any

import httpx
import openai
import pytest

from durable_nb.throttling import backoff, seconds_asked

NOW = 1_800_000_000.0
REQUEST = httpx.Request("POST", "http://localhost/v1/embeddings")


def of_httpx(status: int, **headers: str) -> httpx.HTTPStatusError:
    """What ``raise_for_status`` raises."""
    response = httpx.Response(status, headers={k.replace("_", "-"): v for k, v in headers.items()}, request=REQUEST)
    with pytest.raises(httpx.HTTPStatusError) as found:
        response.raise_for_status()
    return found.value


def of_openai(code: str | None = None, **headers: str) -> openai.RateLimitError:
    """What the client of OpenAI raises for a 429."""
    response = httpx.Response(429, headers={k.replace("_", "-"): v for k, v in headers.items()}, request=REQUEST)
    return openai.RateLimitError("slow down", response=response, body={"code": code} if code else None)


def of_urllib(status: int, **headers: str) -> urllib.error.HTTPError:
    """What ``urlopen`` raises."""
    message = email.message.Message()
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    return urllib.error.HTTPError("http://localhost", status, "no", message, None)


class ThrottlingException(Exception):
    """Of some SDK that has nothing but a name."""


def of_botocore(code: str) -> Exception:
    """The shape of a ClientError: its response is a dict."""
    error = Exception("An error occurred")
    error.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPHeaders": {"retry-after": "3"}}}  # type: ignore[attr-defined]
    return error


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (of_httpx(429), 0.0),
        (of_httpx(429, Retry_After="12"), 12.0),
        (of_httpx(429, retry_after_ms="250", Retry_After="1"), 0.25),
        (of_httpx(503, Retry_After="7"), 7.0),
        (of_httpx(529), 0.0),
        (of_httpx(429, Retry_After=formatdate(NOW + 30, usegmt=True)), 30.0),
        (of_httpx(429, Retry_After=formatdate(NOW - 30, usegmt=True)), 0.0),
        (of_httpx(429, Retry_After="soon"), 0.0),
        (of_openai(), 0.0),
        (of_openai(retry_after="2.5"), 2.5),
        (of_urllib(429, Retry_After="4"), 4.0),
        (of_botocore("ThrottlingException"), 3.0),
        (ThrottlingException(), 0.0),
    ],
)
def test_an_error_that_says_later(error: Exception, seconds: float) -> None:
    """Whatever the client, how long to wait is what its service said."""
    assert seconds == seconds_asked(error, NOW)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("429"),
        of_httpx(500),
        of_httpx(503),
        of_httpx(401, Retry_After="5"),
        of_openai("insufficient_quota"),
        of_urllib(404),
        of_botocore("AccessDenied"),
        KeyError(429),
    ],
)
def test_an_error_about_something_else(error: Exception) -> None:
    """A wrong document, a wrong key, a broken server and an empty account are failures."""
    assert seconds_asked(error, NOW) is None


class Silent(Exception):
    """Has no attributes to ask for."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


@pytest.mark.parametrize(
    "said",
    [
        {"response": {"Response": "False", "Error": "Movie not found!"}},
        {"response": {"Error": None, "ResponseMetadata": None}},
        {"code": {"number": 429}},
        {"status": [429]},
        {"response": Silent()},
    ],
)
def test_attributes_of_these_names_may_be_anything(said: dict[str, Any]) -> None:
    """They say nothing then, and the error is told as it is."""
    error = Exception("no")
    vars(error).update(said)
    assert seconds_asked(error, NOW) is None
    assert seconds_asked(Silent(), NOW) is None


def test_any_object_may_be_asked() -> None:
    """Attributes of other kinds, or none, are no status."""
    odd: Any = Exception()
    odd.response, odd.status, odd.headers = SimpleNamespace(status_code="429"), object(), 7
    assert seconds_asked(odd, NOW) is None


@pytest.mark.parametrize(("refused", "longest"), [(1, 1.0), (2, 2.0), (5, 16.0), (40, 60.0)])
def test_who_does_not_say_is_asked_ever_less_often(refused: int, longest: float) -> None:
    """Doubling up to a minute, with jitter."""
    assert all(longest / 2 <= backoff(refused) <= longest for _ in range(100))
