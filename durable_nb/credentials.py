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
_BEFORE_KEY = frozenset("api access private service account encryption signing master auth client app".split())  # noqa: SIM905
_FORM = (
    r"sk-[\w-]{12,}|gh[pousr]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|AKIA[0-9A-Z]{12,}|xox[abeprs]-[\w-]{10,}|"
    r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*|hf_[A-Za-z0-9]{16,}|AIza[\w-]{30,}|-----BEGIN [A-Z ]*PRIVATE KEY-----|"
    r"(?i:bearer|basic) [\w.+/=~-]{12,}"
)
_ADDRESS = r"://[^/\s:@'\"]*:([^/\s@'\"]+)@"
_FORMS = re.compile(f"{_FORM}|{_ADDRESS}")
_FORMS_OF_TEXT = re.compile(_FORM)
_FORMS_OF_BYTES = re.compile(_FORM.encode())
_PASSWORD = re.compile(_ADDRESS)
_RANDOM = re.compile(r"(?<![A-Za-z0-9])(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{24,}(?![A-Za-z0-9])")
_SAID = re.compile(  # a name from its beginning, and no longer than names are: an error may quote a word of a megabyte
    r"""(?<!\w)(?P<name>[A-Za-z_][\w.-]{0,80}+)(?P<is>["']?\s*[:=]\s*[rbuRBU]?)(?P<quote>["']?)(?P<value>(?<=["'])[^\s"']{4,}|[^\s"',;)#(=]{4,})"""
)
_TURNS = re.compile(r"(?<=[A-Za-z])\d|(?<=\d)[A-Za-z]")
_SCHEME = re.compile(r"(?i)^\s*(bearer|basic|token|key|apikey)?[\s:=]*")
_LINE = re.compile(r"^(\s*)[%!].*$", re.MULTILINE)
_ASIDE = re.compile(r"#.*|^\s*[%!].*", re.MULTILINE)
_SUSPECT = re.compile(  # a word that says credential, an escape, or literals that are joined
    r"""(?i)key|token|secret|passw|pwd|passphrase|credential|auth|bearer|dsn|connstr|cookie|\\[xun0-7]|["'][\s\\]*[rbfu]*["']"""
)
_SHORTEST, _PLAIN_WORD = 6, re.compile(r"[A-Za-z]+(?:[_ .-][A-Za-z]+)*")
_LONG_TEXT, _LONGEST_PATH = 400, 4096


@lru_cache(maxsize=4096)
def is_named(name: str) -> bool:
    """Whether a variable, parameter, header or key of this name may hold a credential."""
    words = _words(name)
    return bool(words) and (words[-1] in _AT_THE_END or words[0] == "token" or not _ANYWHERE.isdisjoint(words))


@lru_cache(maxsize=4096)
def is_surely_named(name: str) -> bool:
    """Whether it may hold nothing else: ``key`` and ``sort_key`` may, and a token may be a word."""
    words = _words(name)
    is_key = len(words) > 1 and words[-1] in _AT_THE_END and (words[-1] == "token" or words[-2] in _BEFORE_KEY)
    return is_key or (is_named(name) and not {"key", "token"} & {words[-1], words[0]}) or name == "API_KEY"


def may_hold(name: str, text: str | bytes) -> bool:
    """Whether a text under this name is not to be stored; ``sort_key = "length"`` may be."""
    if not is_named(name) or _is_place(_text(text)):
        return False
    return len(text) > 3 if is_surely_named(name) else is_telling(_text(text))


def holds(name: str, text: str | bytes) -> bool:
    """The same inside of data and calls, where a key or token is more often something else."""
    if not is_named(name) or _is_place(_text(text)):
        return False
    return len(text) > 3 if is_surely_named(name) else _is_random(_text(text))


def is_form(text: str) -> bool:
    """Whether a text looks like a credential, or holds one. Of a long one (a document) an address does not count."""
    return bool((_FORMS if len(text) < _LONG_TEXT else _FORMS_OF_TEXT).search(text))


def is_telling(text: str) -> bool:
    """Whether finding a text elsewhere says something: ``password = "none"`` must not make every none a secret."""
    return len(text) >= _SHORTEST and not (len(text) < 12 and _PLAIN_WORD.fullmatch(text))


def _is_place(text: str) -> bool:
    """A file or folder that is there: ``PWD`` of every shell, ``pwd = os.getcwd()``, the path of a file of credentials."""
    return text.startswith(("/", "~/")) and len(text) < _LONGEST_PATH and os.path.exists(os.path.expanduser(text))


def _is_random(text: str) -> bool:
    return is_form(text) or (len(text) >= 12 and " " not in text.strip() and len(_TURNS.findall(text)) >= 3)


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORDS.findall(name)]


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


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

    def hidden_in(self, text: str) -> str:
        """An error or traceback, without those that are known, have a form, or are passed by name in a line of code."""
        for one in self.known:
            text = text.replace(one, INSTEAD)
        text = _FORMS.sub(_unformed, text)
        return _SAID.sub(lambda found: _unsaid(found) if found["quote"] else found[0], text)

    def keeps(self, text: str) -> bool:
        """Whether a text may be stored as it is."""
        return self.redacted(text) == text


def known_in(*scopes: Mapping[str, Any]) -> Credentials:
    """Those in the environment, and those that names in these scopes stand for."""
    found = [text for name, value in os.environ.items() for text in texts_of(name, value)]
    for scope in scopes:
        for name, value in list(scope.items()):
            if isinstance(name, str) and not name.startswith("_"):  # such as the text of the cell before
                found += texts_of(name, value)
    return Credentials(found)


def texts_of(name: str, value: Any, depth: int = 2) -> Iterator[str]:
    """The credentials in a value: all texts of one whose name says so, else those that look so."""
    kind = type(value)  # not isinstance: that asks an object of the user for its __class__
    if issubclass(kind, (str, bytes)):
        text = _text(value) if len(value) < 4096 else ""
        is_known = is_named(name) and (is_telling(text) if is_surely_named(name) else _is_random(text))
        if is_known and not _is_place(text):
            yield text
        if len(text) < _LONG_TEXT:
            yield from (found[1] or found[0] for found in _FORMS.finditer(text))
    elif is_named(name) and depth:
        if issubclass(kind, (dict, list, tuple, set, frozenset)) and is_surely_named(name):
            for part in list(value.values() if isinstance(value, dict) else value)[:20]:
                yield from texts_of(name, part, depth - 1)
        elif hasattr(kind, "get_secret_value"):  # pydantic.SecretStr
            yield from texts_of(name, value.get_secret_value(), 0)


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
    text = _FORMS.sub(_unformed, text)
    if _python_of(text) is None:
        return _SAID.sub(_unsaid, text)
    return _ASIDE.sub(lambda found: _SAID.sub(_unsaid, found[0]), text)


def _unformed(found: re.Match[str]) -> str:
    return found[0].replace(found[1], INSTEAD) if found[1] else INSTEAD  # of an address only the password


def _unsaid(found: re.Match[str]) -> str:
    """``password=hunter2`` in a comment, a magic or a shell line; an expression in its place says nothing."""
    is_literal = (
        found["quote"] or not re.fullmatch(r"[\w.()\[\]]+", found["value"]) or any(map(str.isdigit, found["value"]))
    )
    if not may_hold(found["name"], found["value"]) or not is_literal or "environ" in found["value"]:
        return found[0]
    return f"{found['name']}{found['is']}{found['quote']}{INSTEAD}"


def _without_literals(text: str, credentials: Credentials) -> str:
    """Python with literals replaced that are credentials, or are given to what is named as one."""
    if not (_SUSPECT.search(text) or _RANDOM.search(text) or credentials.found_in(text)):
        return text  # most code: a tree takes a hundred times as long
    tree = _python_of(text)
    if tree is None:
        return text
    spans = sorted({_span(node) for node in _telling(tree, credentials)}, reverse=True)
    lines = text.encode().splitlines(keepends=True)  # columns count bytes
    for line, column, end_line, end_column in spans:
        rest = lines[end_line - 1][end_column:]
        lines[line - 1 : end_line] = [lines[line - 1][:column] + repr(INSTEAD).encode() + rest]
    return b"".join(lines).decode()


def _python_of(text: str) -> ast.Module | None:
    """The tree of a cell, ``pass`` in the place of lines for IPython; None if it is none."""
    return syntax.parse(text) or syntax.parse(_LINE.sub(r"\1pass", text))


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
    for name, value, is_variable in _given_to_names(tree):
        is_written = isinstance(value, (ast.Constant, ast.JoinedStr, ast.BinOp, ast.BoolOp))
        for part in ast.walk(value) if is_written else ():
            if not isinstance(part, ast.Constant) or not isinstance(part.value, (str, bytes)) or id(part) in inside:
                continue
            rest = _SCHEME.sub("", _text(part.value))  # "Bearer " + api_key
            is_one = may_hold(name, rest) if is_variable else holds(name, rest)
            if is_one and (part is value or is_telling(rest)):
                yield part


def _is_credential(value: object, credentials: Credentials) -> bool:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    return isinstance(value, str) and (
        credentials.found_in(value) or (len(value) < _LONG_TEXT and _RANDOM.search(value) is not None)
    )


def _given_to_names(tree: ast.AST) -> Iterator[tuple[str, ast.expr, bool]]:
    """Names, what is assigned, passed or mapped to them, and whether they are variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword):
            yield node.arg or "", node.value, False
        elif isinstance(node, ast.Assign):
            yield from ((_last_name(target), node.value, isinstance(target, ast.Name)) for target in node.targets)
        elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)) and node.value is not None:
            yield _last_name(node.target), node.value, True
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            yield from ((_last_name(key), value, False) for key, value in pairs if key is not None)
        elif isinstance(node, ast.arguments):
            positional = [*node.posonlyargs, *node.args]
            by_place = zip(reversed(positional), reversed(node.defaults), strict=False)
            by_name = zip(node.kwonlyargs, node.kw_defaults, strict=True)
            yield from ((arg.arg, value, False) for arg, value in (*by_place, *by_name) if value is not None)


def _last_name(target: ast.expr) -> str:
    if isinstance(target, ast.Subscript):
        return _last_name(target.slice)
    if isinstance(target, ast.Attribute):
        return target.attr
    if isinstance(target, ast.Constant):
        return target.value if isinstance(target.value, str) else ""
    return target.id if isinstance(target, ast.Name) else ""
