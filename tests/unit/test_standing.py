"""A call is named by the values of its arguments; what has no value, by the statements that made it."""

from __future__ import annotations

import sys
import textwrap
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable_nb import provenance
from durable_nb.errors import Unkeyable
from durable_nb.notebook.sites import Site
from durable_nb.notebook.standing import Standing
from tests.unit.marked_cells import marked

CLOUDLIB = """
import threading
class Client:
    def __init__(self, *args): self._lock = threading.Lock()
"""
LARGE = ["x" * 100] * 1000


class Record:
    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A class of an installed library, whose objects have no value."""
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "cloudlib.py").write_text(textwrap.dedent(CLOUDLIB))
    monkeypatch.syspath_prepend(str(tmp_path / "site-packages"))
    from cloudlib import Client  # type: ignore[import-not-found]

    yield Client
    sys.modules.pop("cloudlib")


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The statement that made each global of the notebook, as the notebook would tell it."""
    statements: dict[str, str] = {}
    monkeypatch.setattr(provenance, "statement_finders", [lambda name, scope: statements.get(name)])
    return statements


def site_of(call: str, above: str = "for d in docs:") -> Site:
    return marked(f"{above}\n    v = {call}")[1].sites[0]


def name_of(call: str, *args: Any, scope: dict[str, Any] | None = None, bound: Any = (), **kwargs: Any) -> bytes:
    """Of a call in a kernel of its own."""
    return Standing({"__name__": "__main__", **(scope or {})}).of_call(site_of(call), bound, args, kwargs)


VALUES = [
    "a", b"a", 1, 1.0, True, None, [1], (1,), {1}, {"a": 1}, ["a", {"b": (1.5, None)}], np.arange(3), np.arange(3.0),
    pd.Series([1]), pd.DataFrame({"a": [1]}), Record(a=1), Record(a=2), Record(a=[1, {"b": 2}]), Path("a"), len, str, lambda x: x, lambda x: x + 1,
]  # fmt: skip


def test_data_stands_for_its_value() -> None:
    """Equal arguments have one name in every kernel; other values, types, places and keywords have another."""
    names = [name_of("embed(d)", value) for value in VALUES]
    more = [
        name_of("embed(d)", *args, **kwargs)
        for args, kwargs in [((), {}), (("a", 1), {}), ((1, "a"), {}), (("a",), {"k": 1})]
    ]

    assert names == [name_of("embed(d)", value) for value in VALUES]
    assert len(VALUES) + len(more) == len({*names, *more})
    assert name_of("f(d)", "a", k=1, m=2) == name_of("f(d)", "a", m=2, k=1)
    assert name_of("f(d)", 1, bound=(Record(a=1),)) != name_of("f(d)", 1, bound=(Record(a=2),))


@given(
    st.recursive(
        st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5
    )
)
@settings(max_examples=50, deadline=None)
def test_what_is_held_does_not_count(value: Any) -> None:
    """A copy under another name, beside other globals, gives the same name."""
    copied = eval(repr(value))

    assert name_of("embed(d)", value, scope={"d": value}) == name_of("embed(other)", copied, scope={"z": 1})


def test_the_trail_is_part_of_the_name() -> None:
    """What is taken from the result of a call tells two calls apart; how the arguments are typed does not."""
    names = [name_of(call, "a") for call in ("f(d)", "f(d)[0]", "f(d)[1]", "f(d).text", "f(d).text()", "f(d).text(1)")]

    assert 6 == len(set(names))
    assert name_of("f(d).text", "a") == name_of("f(other).text", "a")


@pytest.mark.parametrize(
    ("call", "place"),
    [
        ("ask(client, d)", 0),
        ("ask(d, client)", 1),
        ("ask(d, c=client)", "c"),
        ("ask(d, box.client)", 1),
        ("ask(d, *rest)", 1),
    ],
)
def test_an_object_without_a_value_stands_for_its_statement(
    client: Any, made: dict[str, str], call: str, place: int | str
) -> None:
    """A client is known by what made it, wherever it is handed over: another one made the same way is the same."""

    def name(statement: str) -> bytes:
        made["client"] = statement
        one = client()
        args, kwargs = {0: ((one, "a"), {}), 1: (("a", one), {}), "c": (("a",), {"c": one})}[place]
        return name_of(call, *args, scope={"client": one, "Client": client}, **kwargs)

    assert name("client = Client('a')") == name("client = Client('a')")
    assert name("client = Client('a')") != name("client = Client('b')")


def test_receivers_count_no_place(client: Any, made: dict[str, str]) -> None:
    """Of a method the first argument is the one behind the receiver."""
    one, other = client(), client()
    made |= {"one": "one = Client(1)", "other": "other = Client(2)"}
    scope = {"one": one, "other": other, "Client": client}
    first = name_of("m.ask(one)", one, bound=(Record(a=1),), scope=scope)

    assert first == name_of("m.ask(one)", one, bound=(Record(a=1),), scope=scope)
    assert first != name_of("m.ask(other)", other, bound=(Record(a=1),), scope=scope)


def test_the_name_that_is_typed_counts(client: Any, made: dict[str, str]) -> None:
    """Of an object with two names, it is the statement of the typed one that counts, behind a receiver too."""
    one = client()
    scope = {"alias": one, "one": one, "Client": client}

    def name(alias: str) -> bytes:
        made.update(one="one = Client(1)", alias=alias)
        return name_of("m.ask(d, one)", "a", one, bound=(Record(a=1),), scope=scope)

    assert name("alias = Client(1)") == name("alias = Client(2)")


def test_what_is_made_in_the_loop_has_no_name(client: Any, made: dict[str, str]) -> None:
    """An object without a value that no global holds cannot name a call: that is told with its type."""
    made["client"] = "client = Client()"
    held = client()
    with pytest.raises(Unkeyable) as raised:
        name_of("ask(d, c)", "a", client(), scope={"client": held})

    assert "lock" == raised.value.type_name


def test_data_that_holds_an_opaque_object(made: dict[str, str]) -> None:
    """A list with a lock in it is known by the statement of the global that it is, or not at all."""
    made["tools"] = "tools = [threading.Lock()]"
    first, again = [threading.Lock()], [threading.Lock()]
    scope = {"threading": threading}

    assert name_of("f(tools)", first, scope=scope | {"tools": first}) == name_of(
        "f(tools)", again, scope=scope | {"tools": again}
    )
    with pytest.raises(Unkeyable):
        name_of("f(d)", first)


def expression(
    standing: Standing, call: str, *values: Any, above: str = "for d in docs:", step: str = "embed"
) -> bytes | None:
    return standing.of_expression(site_of(call, above), step, (), values)


def test_an_expression_is_named_by_what_it_reads() -> None:
    """Its text, the step, and the values that its names stand for; what the loop calls them does not count."""
    standing, f, g = Standing({}), (lambda x: x), (lambda x: x + 1)
    first = expression(standing, "embed(f(d))", f, "a")

    assert first == expression(Standing({}), "embed(f(other))", f, "a", above="for other in docs:")
    others = [
        expression(standing, "embed(f(d))", f, "b"),
        expression(standing, "embed(f(d))", g, "a"),
        expression(standing, "embed(g(d))", f, "a"),
        expression(standing, "embed(f(d)).x", f, "a"),
        expression(standing, "embed(f(d))", f, "a", step="other"),
        standing.of_expression(site_of("embed(f(d))"), "embed", ("receiver",), (f, "a")),
    ]

    assert 7 == len({first, *others})


def test_an_expression_that_reads_what_has_no_value(client: Any, made: dict[str, str]) -> None:
    """A global client counts by its statement; one that the loop binds leaves the expression without a name."""
    one = client()
    made["c"] = "c = Client()"
    standing = Standing({"__name__": "__main__", "c": one, "Client": client})

    assert expression(standing, "embed(f(c, d))", len, one, "a") is not None
    assert expression(standing, "embed(f(c, d))", len, one, "a", above="for c, d in docs:") is None
    assert expression(standing, "embed(f(c, d))", len, client(), "a") is None


@pytest.mark.parametrize("make", [lambda: list(LARGE), lambda: dict(enumerate(LARGE)), lambda: pd.DataFrame({"a": range(20_000)})])  # fmt: skip
def test_large_data_is_read_once(make: Any) -> None:
    """A large table that the loop does not touch is read once; a longer one, another one and the next run are read."""
    table, standing = make(), Standing({})
    first = expression(standing, "embed(f(table, d))", len, table, "a")
    changed = make()
    changed.__setitem__(0, ["y"] * len(changed)) if isinstance(changed, pd.DataFrame) else changed.__setitem__(0, 7)

    assert first == expression(Standing({}), "embed(f(table, d))", len, make(), "a")
    assert first != expression(standing, "embed(f(table, d))", len, changed, "a")

    if isinstance(table, (list, dict)):
        longer = expression(standing, "embed(f(table, d))", len, table, "a")
        table.append("x") if isinstance(table, list) else table.update(more="x")

        assert longer != expression(standing, "embed(f(table, d))", len, table, "a")
        table.pop() if isinstance(table, list) else table.pop("more")
        assert first == expression(standing, "embed(f(table, d))", len, table, "a")

    table[0] = 9

    assert first == expression(standing, "embed(f(table, d))", len, table, "a")
    assert first != expression(Standing({}), "embed(f(table, d))", len, table, "a")


@pytest.mark.parametrize(
    "body", ["rows[0] = d", "rows.sort()", "rows += [d]", "del rows[0]", "rows[0].text = d", "rows[0].add(d)"]
)
def test_data_that_the_loop_changes_is_read_each_time(body: str) -> None:
    """What the loop stores into, deletes from or calls a method of may be another value in the next iteration."""
    rows, standing = list(LARGE), Standing({})
    sites = marked(f"for d in docs:\n    {body}\n    v = embed(f(rows, d))")[1].sites
    site = next(one for one in sites if one.callee == "embed")
    first = standing.of_expression(site, "embed", (), (len, rows, "a"))
    rows[0] = "changed"

    assert first != standing.of_expression(site, "embed", (), (len, rows, "a"))


def test_a_function_of_a_module_counts_by_its_code() -> None:
    """A builder that is reached through an own module is known by its code, the module by its name."""

    def with_clean(clean: Any) -> bytes | None:
        tools = ModuleType("tools")
        tools.clean = clean  # type: ignore[attr-defined]
        return expression(Standing({}), "embed(tools.clean(d))", tools, "a")

    assert with_clean(lambda x: x) == with_clean(lambda x: x)
    assert with_clean(lambda x: x) != with_clean(lambda x: x + 1)
