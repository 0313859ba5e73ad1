"""What may be given to ``@step``, ``map``, ``run`` and ``configure``: anything else is refused, with what to write."""

from __future__ import annotations

import datetime as dt
import decimal
import fractions
import math
import re
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from durable_nb import configure, run, step, workflow
from durable_nb.errors import ConfigError
from durable_nb.testing import assert_restored

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("store")

ARRAY = np.array([1, 2])

OF_STEP: dict[str, list[Any]] = {
    "name": [5, 0, True, False, b"x", "", [], [5], {}, ARRAY, "a\0b", "\udc00"],
    "retries": [-1, True, "3", 1.5, None, [3], math.nan, ARRAY],
    "retry_on": ["ValueError", [ValueError], ValueError("x"), None, 5],
    "timeout": [0, -1, math.nan, -math.inf, True, "5", b"5", [5], (1,), {}, object, ARRAY, dt.time(0, 1)]
    + [dt.timedelta(0), np.timedelta64(5, "s"), -(10**400)],
    "version": [True, False, b"1", object(), [1], (1,), {}, math.nan, math.inf, np.int64(5), ARRAY],
    "rate_limit": ["", "fast", 5, 0, True, b"20/s", "0/s", [], ARRAY],
    "batch": [True, False, 0, -1, 2.0, "8", "", [], ARRAY],
    "transaction": [None, 0, 1, "", "yes", [], ARRAY],
    "cost": ["usage", 5, 0, "", [], ARRAY],
    "ignore": [5, 0, True, False, b"x", "", ["nothing"], [5], np.array(5), iter(["x"]), ARRAY],
    "executor": [0, False, "", [], {}, set(), True, "thread", b"threads", object(), ARRAY],
}
OF_MAP: dict[str, list[Any]] = {
    "key": ["id", 5, 0, "", [], ARRAY],
    "workers": [0, -1, True, 2.0, "8", None, [8], math.inf, 10**30, ARRAY],
    "on_error": ["ignore", "", None, True, ["raise"], ARRAY],
    "on_change": ["perhaps", "", False, 0, ["keep"], b"keep", ARRAY],
    "limit": [0, -1, True, False, 1.5, "3", math.inf, 10**30, ARRAY],
    "priority": ["len", 5, 0, "", [], ARRAY],
    "shared": [None, 0, 1, "", "yes", [], ARRAY],
    "executor": OF_STEP["executor"],
}
OF_CONFIGURE: dict[str, list[Any]] = {
    "url": [5, True, b"x.db", [], object(), "a\0b", "\udc00", ARRAY],
    "on_change": ["perhaps", "", False, 0, ["keep"], ARRAY],
    "durability": ["half", "", False, 0, ["full"], ARRAY],
    "trust": ["yes", "", 0, 1, [], ARRAY],
    "labels": ["no", "", 0, 1, [], ARRAY],
    "capsule_mb": [-1, 1001, True, "5", math.nan, math.inf, [], ARRAY],
}


def type_of(value: object) -> str:
    """Names a test by what does not differ between two processes."""
    return type(value).__name__


def each(table: dict[str, list[Any]]) -> pytest.MarkDecorator:
    """A test of each value of each option."""
    pairs = [(option, value) for option, values in table.items() for value in values]
    return pytest.mark.parametrize(
        ("option", "value"), pairs, ids=[f"{name}={type_of(value)}" for name, value in pairs]
    )


def double(number: int) -> int:
    """Any function."""
    executed.append(number)
    return 2 * number


executed: list[int] = []


@pytest.fixture(autouse=True)
def _nothing_executed() -> None:
    executed.clear()


@each(OF_STEP)
def test_what_a_step_cannot_be_told_is_refused_where_it_stands(option: str, value: Any) -> None:
    """The decorator names the option and says what to write, as ``options`` does."""
    with pytest.raises(ConfigError, match=option) as refused:
        step(**{option: value})(double)
    with pytest.raises(ConfigError):
        step(double).options(**{option: value})  # type: ignore[misc]

    assert refused.value.remedy


@pytest.mark.parametrize("is_inside", [False, True])
@each(OF_MAP)
def test_what_a_map_cannot_be_told_is_refused_before_anything_runs(option: str, value: Any, is_inside: bool) -> None:
    """No call is made, whether the run is its own or one around it; a stream is refused before it is read."""
    of = step(double)
    with pytest.raises(ConfigError, match=f"{option}=") as refused:
        if is_inside:
            with run("around"):
                of.map([1, 2], **{option: value})
        else:
            of.map([1, 2], **{option: value})
    if option != "shared":
        with pytest.raises(ConfigError, match=f"{option}="):
            of.stream([1, 2], **{option: value})

    assert refused.value.remedy
    assert [] == executed


@pytest.mark.parametrize(("package", "name"), [("distributed", ""), ("ipyparallel", ""), ("ipyparallel", "Cluster")])
def test_not_all_that_an_engine_has_is_an_executor(package: str, name: str) -> None:
    """Its module, or a cluster to which nobody has connected, is refused as anything else is."""
    module = pytest.importorskip(package)
    with pytest.raises(ConfigError, match="executor="):
        step(double).map([1], executor=getattr(module, name)() if name else module)


@each(OF_CONFIGURE)
def test_a_setting_that_is_not_possible_is_refused(option: str, value: Any) -> None:
    """Nothing is changed then, and the next map is computed as before."""
    with pytest.raises(ConfigError, match=option):
        configure(**{option: value})

    assert [2] == list(step(double).map([1]))


@pytest.mark.parametrize(
    "value", [5, 0, False, True, b"x", [], ["old"], {}, object(), 10**30, ARRAY, "\udc00"], ids=type_of
)
def test_names_of_runs_are_text(value: Any) -> None:
    """A run, a workflow and the run that a fork begins with have a name that is text."""
    with pytest.raises(ConfigError, match="cannot name a run"), run(value):
        pass
    with pytest.raises(ConfigError, match="cannot name a run"), run("new", fork=value):
        pass
    with pytest.raises(ConfigError, match="cannot name a run"):
        workflow(name=value)(double)


@pytest.mark.parametrize("version", ["1", 1.0, 0, -1, 7, [1], b"1"], ids=type_of)
def test_there_is_no_such_version_to_read(version: Any) -> None:
    """Saved results are read by the number of a version; what is none is refused, as is a step without a name."""
    step(double).map([1])

    with pytest.raises(ConfigError, match="version"):
        run("double").results(version=version)
    with pytest.raises(ConfigError, match="has no results of a step"):
        run("double").results(["double"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "timeout",
    [
        5,
        2.5,
        math.inf,
        10**400,
        dt.timedelta(seconds=5),
        decimal.Decimal(5),
        fractions.Fraction(5, 2),
        np.int64(5),
    ]
    + [np.float32(2.5), None],
    ids=type_of,
)
def test_a_timeout_is_any_number(timeout: Any) -> None:
    """Of seconds, in whatever type they come."""
    assert [2] == list(step(timeout=timeout)(double).map([1]))


@pytest.mark.parametrize("kind", [int, np.int64, np.uint8])
def test_a_number_of_numpy_is_a_number(kind: Any) -> None:
    """Counts come out of arrays and tables, too."""
    paired = step(lambda numbers: [2 * n for n in numbers], name="paired", batch=kind(2), retries=kind(1))

    assert [0, 2, 4] == list(paired.map(range(9), limit=kind(3), workers=kind(2)))


@pytest.mark.parametrize("version", ["2", "", 2, 0, 2.5, 10**400], ids=str)
def test_a_version_is_a_text_or_a_number(version: Any) -> None:
    """What it is told stands for the code: another body is no other version."""
    step(double, version=version, name="embed").map([1])
    with assert_restored(edited := step(lambda number: -number, version=version, name="embed"), 1):
        again = list(edited.map([1]))

    assert [2] == again


@pytest.mark.parametrize("ignore", [None, (), [], "key", ["key"], {"key"}, np.array(["key"])], ids=type_of)
def test_names_of_parameters_come_in_any_collection(ignore: Any) -> None:
    """What is to be ignored is one text or several of them, or nothing."""

    @step(ignore=ignore)
    def fetch(page: int, key: str = "secret") -> int:
        return page

    assert [1] == list(fetch.map([1]))


class Colour(Enum):
    """A class that can be looped over."""

    RED = 1
    BLUE = 2


@pytest.mark.parametrize("items", [np.array(5), np.int64(5), np.float32(5), list, dict, range, None], ids=type_of)
def test_what_cannot_be_looped_over_is_no_list_of_documents(items: Any) -> None:
    """An array of no dimension and a class look as if they could be; they are refused as a number is."""
    with pytest.raises(ConfigError, match="cannot be looped over"):
        step(double).map(items)


def test_the_members_of_an_enumeration_are_documents() -> None:
    """What a class can be looped over by is a list of documents like any other."""

    @step
    def named(colour: Colour) -> str:
        return colour.name

    assert ["RED", "BLUE"] == list(named.map(Colour))


@pytest.mark.parametrize("limit", [None, 2])
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({1: None, 2: None, 3: None}, "gave None for {}, "),
        ({1: 1, 2: None, 3: 2}, "gave None for {}, "),
        ({1: 1, 2: math.nan, 3: 2}, "gave nan for {}, "),
        ({1: 1, 2: "much", 3: 2}, "gave a str for {}, "),
        ({1: (1, 2), 2: (2, 1), 3: (1, "")}, "gave a tuple for {}, "),
        ({1: ARRAY, 2: ARRAY, 3: 2}, "gave a ndarray for {}, "),
    ],
    ids=["none", "one none", "nan", "mixed", "deep", "arrays"],
)
def test_a_priority_that_has_no_order_names_the_document(given: dict[int, Any], says: str, limit: int | None) -> None:
    """Nothing is computed in an order that is none: the error says for which document there is no place."""
    with pytest.raises(ConfigError) as refused:
        step(double).map([1, 2, 3], priority=given.get, limit=limit)

    assert re.search("priority= " + says.format("(1|2|3|#0|#1|#2)"), str(refused.value))
    assert "number for each item" in refused.value.remedy
    assert [] == executed


@pytest.mark.parametrize(
    "priority",
    [lambda number: -number, lambda number: "cba"[number], lambda number: (0, -number)],
    ids=["number", "text", "tuple"],
)
def test_whatever_has_an_order_is_a_priority(priority: Callable[[int], Any]) -> None:
    """Numbers, texts and tuples of them; equal ones stay in their order."""
    step(double).map([2, 1, 0], workers=1, priority=priority)
    step(double, name="again").map([2, 1, 0], workers=1, priority=lambda _: 1)

    assert [0, 1, 2, 2, 1, 0] == executed
