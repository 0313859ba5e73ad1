"""What may be a password or token, by its name or its look: nothing that is stored may say it.

A name counts by its words (``api_key``, ``hfToken``, ``db_password``), a text by its form (``sk-…``, ``ghp_…``, an address
with a password), and any text that holds what such a name, or such an environment variable, stands for now.
"""

from __future__ import annotations

import ast
import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from durable_nb import syntax

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

INSTEAD = "***"
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_ANYWHERE = frozenset(
    "apikey secret secrets password passwords passwd passphrase pwd credential credentials auth authorization bearer dsn "  # noqa: SIM905 - one a line would fill a screen
    "connstr cookie".split()
)
_AT_THE_END = frozenset({"key", "token", "authtoken", "accesskey", "secretkey"})
_FORM = (
    r"sk-[\w-]{12,}|gh[pousr]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|AKIA[0-9A-Z]{12,}|xox[abeprs]-[\w-]{10,}|"
    r"eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*|hf_[A-Za-z0-9]{16,}|AIza[\w-]{30,}|-----BEGIN [A-Z ]*PRIVATE KEY-----|"
    r"(?i:bearer|basic) [\w.+/=~-]{12,}"
)
_ADDRESS = r"://[^/\s:@'\"]*:([^/\s@'\"]+)@"
_FORMS = re.compile(f"{_FORM}|{_ADDRESS}")
_FORMS_OF_BYTES = re.compile(_FORM.encode())
_PASSWORD = re.compile(_ADDRESS)
_RANDOM = re.compile(r"(?<![A-Za-z0-9])(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{24,}(?![A-Za-z0-9])")
_SAID = re.compile(
    r"""(?P<name>[A-Za-z_][\w.-]*)(?P<is>["']?\s*[:=]\s*[rbuRBU]?)(?P<quote>["']?)(?P<value>[^\s"',;)#]{4,})"""
)
_SHORTEST, _PLAIN_WORD = 6, re.compile(r"[A-Za-z]+(?:[_ .-][A-Za-z]+)*")
_LONG_TEXT = 400


@lru_cache(maxsize=4096)
def is_named(name: str) -> bool:
    """Whether a variable, parameter, header or key of this name may hold a credential."""
    words = [word.lower() for word in _WORDS.findall(name)]
    return bool(words) and (words[-1] in _AT_THE_END or words[0] == "token" or not _ANYWHERE.isdisjoint(words))


def is_form(text: str) -> bool:
    """Whether a text looks like a credential, or holds one. Of a long one (a document) an address does not count."""
    return bool((_FORMS if len(text) < _LONG_TEXT else _FORMS_OF_TEXT).search(text))


_FORMS_OF_TEXT = re.compile(_FORM)


class Credentials:
    """The texts that are known to be credentials now."""

    def __init__(self, known: Iterable[str]) -> None:
        self.known = tuple(sorted({text for text in known if len(text) >= 4}, key=lambda text: (-len(text), text)))
        self._anywhere = re.compile("|".join(map(re.escape, self.known))) if self.known else None
        written = [form for text in self.known for form in _as_bytes(text)]
        self._in_bytes = re.compile(b"|".join(map(re.escape, written))) if written else None

    def found_in(self, text: str) -> bool:
        """Whether a text looks like one, or holds a known one."""
        return is_form(text) or (self._anywhere is not None and self._anywhere.search(text) is not None)

    def found_in_bytes(self, data: bytes) -> bool:
        """The same of a pickle or array."""
        is_known = self._in_bytes is not None and self._in_bytes.search(data) is not None
        return is_known or _FORMS_OF_BYTES.search(data) is not None

    def redacted(self, text: str) -> str:
        """Code, a cell with magics or any other text, with every credential replaced by ``***``."""
        return _redacted(text, self.known) if text else text

    def keeps(self, text: str) -> bool:
        """Whether a text may be stored as it is."""
        return self.redacted(text) == text


def known_in(*scopes: Mapping[str, Any]) -> Credentials:
    """Those in the environment, and those that names in these scopes stand for."""
    found = list(_of_environment())
    for scope in scopes:
        for name, value in list(scope.items()):
            if isinstance(name, str) and is_named(name):
                found += texts_of(value)
            elif type(value) is str and len(value) < _LONG_TEXT and is_form(value):
                found += [value, *_PASSWORD.findall(value)]
    return Credentials(found)


def texts_of(value: Any, depth: int = 2) -> Iterator[str]:
    """What would be a credential of a value whose name says that it is one."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        if len(value) < 4096 and is_telling(value):
            yield value
            yield from _PASSWORD.findall(value)
    elif depth and isinstance(value, (dict, list, tuple, set, frozenset)):
        for part in list(value.values() if isinstance(value, dict) else value)[:20]:
            yield from texts_of(part, depth - 1)
    elif depth and hasattr(value, "get_secret_value"):  # pydantic.SecretStr
        yield from texts_of(value.get_secret_value(), 0)


def is_telling(text: str) -> bool:
    """Whether finding a text elsewhere says something: ``sort_key = "length"`` must not make every length a secret."""
    return len(text) >= _SHORTEST and not (len(text) < 12 and _PLAIN_WORD.fullmatch(text))


def _of_environment() -> Iterator[str]:
    for name, value in os.environ.items():
        if is_named(name):
            yield from texts_of(value)
        elif is_form(value):
            yield value
            yield from _PASSWORD.findall(value)


def _as_bytes(text: str) -> Iterator[bytes]:
    yield text.encode("utf-8", "surrogatepass")
    yield text.encode("utf-32-le", "surrogatepass")  # as numpy holds text
    if (escaped := text.encode("unicode_escape")) != text.encode("utf-8", "surrogatepass"):
        yield escaped


@lru_cache(maxsize=512)
def _redacted(text: str, known: tuple[str, ...]) -> str:
    credentials = Credentials(known)
    text = _without_literals(text, credentials)
    for one in known:
        text = text.replace(one, INSTEAD)
    text = _FORMS.sub(lambda found: found[0].replace(found[1], INSTEAD) if found[1] else INSTEAD, text)
    return _SAID.sub(_unsaid, text)


def _unsaid(found: re.Match[str]) -> str:
    """``password=hunter2`` in a comment, a magic or a shell line; an expression in its place says nothing."""
    is_literal = (
        found["quote"] or not re.fullmatch(r"[\w.()\[\]]+", found["value"]) or any(map(str.isdigit, found["value"]))
    )
    if not is_named(found["name"]) or not is_literal or found["value"] == INSTEAD or "environ" in found["value"]:
        return found[0]
    return f"{found['name']}{found['is']}{found['quote']}{INSTEAD}"


def _without_literals(text: str, credentials: Credentials) -> str:
    """Python with literals replaced that are credentials, or are given to what is named as one."""
    tree = syntax.parse(text)
    if tree is None:
        return text
    spans = sorted({_span(node) for node in _telling(tree, credentials)}, reverse=True)
    lines = text.encode().splitlines(keepends=True)  # columns count bytes
    for line, column, end_line, end_column in spans:
        rest = lines[end_line - 1][end_column:]
        lines[line - 1 : end_line] = [lines[line - 1][:column] + repr(INSTEAD).encode() + rest]
    return b"".join(lines).decode()


def _span(node: ast.expr) -> tuple[int, int, int, int]:
    return node.lineno, node.col_offset, node.end_lineno or node.lineno, node.end_col_offset or 0


def _telling(tree: ast.AST, credentials: Credentials) -> Iterator[ast.expr]:
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            texts = [part for part in node.values if isinstance(part, ast.Constant)]
            inside.update(map(id, ast.walk(node)))
            if any(_is_credential(part.value, credentials) for part in texts):
                yield node
        elif isinstance(node, ast.Constant) and id(node) not in inside and _is_credential(node.value, credentials):
            yield node
    for value in _given_to_names(tree):
        for part in ast.walk(value) if isinstance(value, (ast.Constant, ast.JoinedStr, ast.BinOp, ast.BoolOp)) else ():
            is_text = isinstance(part, ast.Constant) and isinstance(part.value, (str, bytes)) and len(part.value) > 3
            is_mixed = isinstance(part, ast.JoinedStr) and any(isinstance(one, ast.Constant) for one in part.values)
            if isinstance(part, ast.expr) and (is_mixed or (is_text and id(part) not in inside)):
                yield part


def _is_credential(value: object, credentials: Credentials) -> bool:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return isinstance(value, str) and (
        credentials.found_in(value) or (len(value) < _LONG_TEXT and _RANDOM.search(value) is not None)
    )


def _given_to_names(tree: ast.AST) -> Iterator[ast.expr | None]:
    """The expressions that are assigned, passed or mapped to a name that says credential."""
    for node in ast.walk(tree):
        if (
            (isinstance(node, ast.keyword) and is_named(node.arg or ""))
            or (isinstance(node, ast.Assign) and any(is_named(_last_name(target)) for target in node.targets))
            or (isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value and is_named(_last_name(node.target)))
        ):
            yield node.value
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            yield from (value for key, value in pairs if key is not None and is_named(_last_name(key)))
        elif isinstance(node, ast.arguments):
            positional = [*node.posonlyargs, *node.args]
            pairs_of: list[tuple[ast.arg, ast.expr]] = [
                *zip(reversed(positional), reversed(node.defaults), strict=False)
            ]
            pairs_of += [
                (arg, value) for arg, value in zip(node.kwonlyargs, node.kw_defaults, strict=True) if value is not None
            ]
            yield from (value for arg, value in pairs_of if is_named(arg.arg))


def _last_name(target: ast.expr) -> str:
    if isinstance(target, ast.Subscript):
        return _last_name(target.slice)
    if isinstance(target, ast.Attribute):
        return target.attr
    if isinstance(target, ast.Constant):
        return target.value if isinstance(target.value, str) else ""
    return target.id if isinstance(target, ast.Name) else ""
