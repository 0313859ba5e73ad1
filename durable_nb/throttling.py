"""Does an error say "later"? By the shapes that HTTP clients and SDKs give it; none of them is imported."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from durable_nb.errors import fields_of

_TOO_MANY, _OVERLOADED, _UNAVAILABLE = 429, 529, 503
_NAMES = frozenset(
    {"RateLimitError", "RateLimitExceeded", "TooManyRequests", "TooManyRequestsError", "ResourceExhausted"}
    | {"ThrottlingException", "Throttling", "ThrottledException", "RequestLimitExceeded", "TooManyRequestsException"}
)
_NEVER = frozenset({"insufficient_quota", "billing_hard_limit_reached"})  # OpenAI: also a 429, and no wait helps
_LONGEST_S = 60.0

ASKED = "_durable_nb_seconds_asked"
"""Attribute of an error that comes from a worker: what was found there, where its response was complete."""


def seconds_asked(error: BaseException, now: float) -> float | None:
    """How long a service asks to wait, 0 if it does not say; None for an error that is about something else.

    Understood are a status of 429 or 529, or of 503 with ``Retry-After``, on the error or its ``response`` (httpx, requests,
    aiohttp, urllib, OpenAI, Anthropic, Google), throttling codes of botocore, and well-known names of exceptions.

    Parameters
    ----------
    error : exception
        What a call raised.
    now : float
        Seconds since the epoch, for a ``Retry-After`` that is a date.
    """
    told: float | None = fields_of(error).get(ASKED)
    if told is not None:
        return told
    try:
        return _asked(error, now)
    except Exception:  # attributes of these names that are something else
        return None


def _asked(error: BaseException, now: float) -> float | None:
    response = getattr(error, "response", None)
    if isinstance(response, Mapping):  # botocore
        details, metadata = response.get("Error"), response.get("ResponseMetadata")
        if not isinstance(details, Mapping) or details.get("Code") not in _NAMES:
            return None
        return _wait(metadata.get("HTTPHeaders"), now) or 0.0 if isinstance(metadata, Mapping) else 0.0
    code = getattr(error, "code", None)
    if isinstance(code, str) and code in _NEVER:
        return None
    wait = _wait(getattr(response, "headers", None) or getattr(error, "headers", None), now)
    said = [getattr(one, name, None) for one in (error, response) for name in ("status_code", "status", "code")]
    statuses = {one for one in said if isinstance(one, int)}
    if statuses & {_TOO_MANY, _OVERLOADED} or type(error).__name__ in _NAMES:
        return wait or 0.0
    return wait if _UNAVAILABLE in statuses else None


def backoff(refused: int) -> float:
    """Seconds to wait after so many refusals in a row by a service that does not say how long: 1, 2, 4 … 60, jittered."""
    return min(_LONGEST_S, 2.0 ** min(refused - 1, 10)) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret


def _wait(headers: Any, now: float) -> float | None:
    """What ``Retry-After`` says, in any of its forms."""
    get = getattr(headers, "get", None)
    if get is None:
        return None
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        written = get(name) or get(name.title())
        if written is None:
            continue
        try:
            return max(0.0, float(written) * unit)
        except ValueError:
            pass
        from email.utils import parsedate_to_datetime  # slow to import, and rarely needed

        try:
            return max(0.0, parsedate_to_datetime(written).timestamp() - now)
        except ValueError:
            return None
    return None
