"""REST: who may ask, what is asked, and errors as sentences.

Every route is authenticated and authorized, writing ones check XSRF as Jupyter does; the database is read in a thread. An
error is JSON ``{"message": …, "hint": …}``.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado import web

from durable_nb.errors import ConfigError, DurableError, RunBusy, StoreError, StoreUnavailable
from durable_nb.server.answers import Missing, NotLive

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_nb.server.answers import Answers

_STATUS: tuple[tuple[type[DurableError], int], ...] = (
    (Missing, 404),
    (NotLive, 409),
    (RunBusy, 409),
    (ConfigError, 400),
    (StoreError, 503),
)


def _sentence(error: DurableError) -> tuple[str, str]:
    """What happened, and what to do now where the error says that apart."""
    if isinstance(error, ConfigError):
        return error.problem, error.remedy
    if isinstance(error, StoreUnavailable):
        return f"{error.where}: {error.problem}", error.remedy
    return str(error), ""


class Handler(APIHandler):
    """What all routes share."""

    auth_resource = "durable_nb"
    _track_activity = False  # a page that polls must not keep an idle server from being culled

    @property
    def answers(self) -> Answers:
        """Where the answers come from."""
        found: Answers = self.settings["durable_nb_answers"]
        return found

    async def reply(self, work: Callable[..., Any], *arguments: Any, status: int = 200) -> None:
        """Answer with what ``work`` returns, called in a thread: JSON, or bytes, or 204 for none of those."""
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(self.answers.threads, lambda: work(*arguments))
        self.set_header("Cache-Control", "no-store")
        if answer == b"":
            self.set_status(204)
            await self.finish()
        elif isinstance(answer, bytes):
            await self.finish(answer, set_content_type="application/octet-stream")
        else:
            self.set_status(status)
            await self.finish(json.dumps(answer, allow_nan=False))

    def named(self) -> tuple[str, str, str]:
        """Which run is asked about: store, name, notebook."""
        return self._text("store"), self._text("name"), self._text("notebook", "")

    def whole(self, name: str, default: int | None = None) -> int:
        """A number of the query."""
        text = self._text(name, None if default is None else str(default))
        if not re.fullmatch(r"-?\d{1,15}", text, re.ASCII):
            raise ConfigError(f"{name}={text!r:.40} is no whole number.")
        return int(text)

    def body(self, *names: str) -> list[Any]:
        """Fields of the JSON body, in the order asked for; the first three name the run."""
        try:
            content = json.loads(self.request.body)
        except (ValueError, RecursionError):
            content = None
        if not isinstance(content, dict):
            raise ConfigError("the body of the request is no JSON object.")
        run = [content.get(name, "") for name in ("store", "name", "notebook")]
        if not all(isinstance(text, str) for text in run):
            raise ConfigError("store, name and notebook are text.")
        return [*run, *(content.get(name) for name in names)]

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Our errors as they are; others as a sentence without the traceback, which the log has."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        message, hint = self._reason, ""
        if isinstance(error, DurableError):
            self.set_status(next((status for kind, status in _STATUS if isinstance(error, kind)), status_code))
            message, hint = _sentence(error)
        elif isinstance(error, web.HTTPError):
            message = error.log_message or message
        self.finish(json.dumps({"message": message, "hint": hint}))

    def log_exception(self, kind: Any, value: Any, trace: Any) -> None:
        """Errors that are answered with a sentence are no news for the log of the server."""
        if isinstance(value, DurableError):
            self.log.debug("durable_nb: %s", value)
        else:
            super().log_exception(kind, value, trace)

    def _text(self, name: str, default: str | None = None) -> str:
        # Not stripped: the path of a notebook may end in a blank.
        text = self.get_query_argument(name, default, strip=False)
        if text is None:
            raise ConfigError(f"the request says no {name}.")
        return text


class Status(Handler):
    """``GET status``."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Versions of the extension and of the schema."""
        await self.reply(self.answers.status)


class Runs(Handler):
    """``GET runs?notebook=REL`` or ``?folder=REL``."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """The databases of a notebook or a folder, and their runs."""
        notebook, folder = (self.get_query_argument(name, None, strip=False) for name in ("notebook", "folder"))
        await self.reply(self.answers.runs, notebook, folder)


class Run(Handler):
    """``GET run?store=&name=&notebook=``."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """Snapshot, history and versions of a run."""
        await self.reply(self.answers.run, *self.named())


class Output(Handler):
    """``GET output?store=&name=&notebook=``."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """The data of the output that a notebook keeps of a run."""
        await self.reply(self.answers.output, *self.named())


class Mosaic(Handler):
    """``GET mosaic?store=&name=&notebook=&since=VERSION``."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """The states of all documents in the format of `durable_nb.wire`; 204 when the page has them."""
        await self.reply(self.answers.mosaic, *self.named(), self.whole("since", -1))


class Document(Handler):
    """``GET document?store=&name=&notebook=&position=N``."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """One document."""
        await self.reply(self.answers.document, *self.named(), self.whole("position"))


class Failures(Handler):
    """``GET failures?store=&name=&notebook=&offset=&limit=``."""

    @web.authenticated
    @authorized
    async def get(self) -> None:
        """A page of the documents that gave up."""
        await self.reply(self.answers.failures, *self.named(), self.whole("offset", 0), self.whole("limit", 50))


class Control(Handler):
    """``POST control`` {store, name, notebook, action, value}."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Pause, resume, stop or limit a live run."""
        await self.reply(self.answers.control, *self.body("action", "value"), status=202)


class Choose(Handler):
    """``POST choose`` {store, name, notebook, step, older, choice}."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Keep or recompute the results of older code."""
        await self.reply(self.answers.choose, *self.body("step", "older", "choice"))


class Forget(Handler):
    """``POST forget`` {store, name, notebook}."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Drop a run that is not live."""
        await self.reply(self.answers.forget, *self.body())


ROUTES: tuple[tuple[str, type[Handler]], ...] = (
    ("status", Status),
    ("runs", Runs),
    ("run", Run),
    ("output", Output),
    ("mosaic", Mosaic),
    ("document", Document),
    ("failures", Failures),
    ("control", Control),
    ("choose", Choose),
    ("forget", Forget),
)
