"""What may be given to ``@step`` and ``map``: wrong arguments are refused before anything runs, with what to type."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from durable_nb import executors
from durable_nb.config import ON_CHANGE
from durable_nb.engine.transactions import CONNECTION
from durable_nb.errors import ConfigError
from durable_nb.executors.worker import refuse_here

if TYPE_CHECKING:
    from durable_nb.engine.options import Options
    from durable_nb.engine.steps import Step

_CO_COROUTINE, _CO_GENERATOR, _CO_ASYNC_GENERATOR = 0x80, 0x20, 0x200  # inspect.CO_*, without importing inspect


def is_coroutine_function(function: Any) -> bool:
    """Whether calling it gives a coroutine."""
    return bool(_code_flags(function) & _CO_COROUTINE)


def name_of(function: Any) -> str:
    """The function's name as it is written, without the functions it is defined in."""
    return str(getattr(function, "__qualname__", "")).rpartition("<locals>.")[2]


def _code_flags(function: Any) -> int:
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(function, "__code__", None)
    if code is None:  # an object of a class that says what calling one does
        code = getattr(vars(type(function)).get("__call__"), "__code__", None)
    return code.co_flags if code is not None else 0


def check_step(function: Any, name: str) -> None:
    """Raise ConfigError for what cannot be a step."""
    check_function(function, "step", name)
    if not name or "<" in name:
        what = "lambda" if name else type(function).__name__
        raise ConfigError(
            f"a {what} has no name to find its results by.", f'Give it one: step(name="shorten")({what} …).'
        )


def check_function(function: Any, decorator: str, name: str = "") -> None:
    """Raise ConfigError for what is no function, or gives its results one by one."""
    if not callable(function) or isinstance(function, type):
        raise ConfigError(f"@{decorator} wraps functions, not {function!r:.80}.", "Put it above a `def`.")
    if _code_flags(function) & (_CO_GENERATOR | _CO_ASYNC_GENERATOR):
        name = name or name_of(function)
        raise ConfigError(f"{name} is a generator, whose results cannot be kept.", "Return a list instead of yielding.")


def check_options(function: Any, name: str, options: Options) -> None:
    """Raise ConfigError for options that do not go with the function."""
    check_transaction(function, name, options)
    check_limiter(function, name, options)


def check_transaction(function: Any, name: str, options: Options) -> None:
    """Raise ConfigError for a function that cannot write in a transaction."""
    if not options.transaction:
        return
    from inspect import signature

    if is_coroutine_function(function):
        raise ConfigError(
            f"{name} is async, and transaction=True is not.", "Write a `def`; .amap() runs it on threads."
        )
    if options.timeout_s is not None:
        raise ConfigError(
            f"{name} has a timeout and transaction=True: a thread that is given up cannot be made to let go of it.",
            "Put what may hang into a step before, with a timeout of its own.",
        )
    if options.batch is not None:
        raise ConfigError(
            f"{name} has batch= and transaction=True, and each document has a checkpoint of its own.", "Leave out one."
        )
    if CONNECTION not in signature(function).parameters:
        raise ConfigError(f"{name} has transaction=True and no parameter to receive it.", f"Add: *, {CONNECTION}")


def check_limiter(function: Any, name: str, options: Options) -> None:
    """Raise ConfigError for a limiter that can only be awaited, of a function that is called on threads."""
    if options.flow is not None and options.flow.is_only_awaited and not is_coroutine_function(function):
        raise ConfigError(
            f"{name} is not async, and acquire() of its rate_limit, {type(options.flow.rate).__name__}, has to be awaited.",
            'Make it an `async def`, or write the limit: rate_limit="20/s".',
        )


def check_map(of: Step[..., Any], items: Any, **options: Any) -> None:
    """Raise ConfigError for what cannot be mapped over, or not with these options."""
    refuse_here(f"{of.name}.map()")
    for option, value in options.items():
        is_possible, remedy = _OF_MAP[option]
        if not is_possible(value):
            raise ConfigError(f"{option}={value!r:.60} is not possible.", remedy)
    if of.ignored is not None and of.ignored.covers(len(of.bound)):
        raise ConfigError(f"{of.name} ignores its document.", "Leave its first parameter out of ignore=.")
    _check_items(of, items)
    if hasattr(items, "__aiter__") and options["priority"] is not None:
        raise ConfigError(
            "priority needs all items at once, and these come one after the other.", "Leave it out, or collect them."
        )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= sys.maxsize


def _is_function(value: Any) -> bool:
    return value is None or callable(value)


def _is_one_of(*names: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in names


_OF_MAP: dict[str, tuple[Callable[[Any], bool], str]] = {
    "key": (_is_function, 'Give a function of the item: key=lambda doc: doc["id"].'),
    "workers": (_is_count, "Give a whole number from 1: calls at a time."),
    "on_error": (_is_one_of("raise", "collect"), 'Use "raise" or "collect".'),
    "on_change": (
        lambda value: value is None or _is_one_of(*ON_CHANGE)(value),
        f"Use one of: {', '.join(ON_CHANGE)}.",
    ),
    "limit": (
        lambda value: value is None or _is_count(value),
        "Give a whole number from 1: documents, or None for all.",
    ),
    "priority": (_is_function, "Give a function of the item: priority=len."),
    "shared": (lambda value: isinstance(value, bool), "Give True or False."),
}
"""What is possible for an option of ``map``, and what to do otherwise."""


def _check_items(of: Step[..., Any], items: Any) -> None:
    wrong = f"{of.name}.map takes documents one by one, and items is "
    if isinstance(items, str | bytes):
        raise ConfigError(f"{wrong}a single text.", f"Call {of.name}(…), or pass a list: [text].")
    if isinstance(items, dict):
        raise ConfigError(f"{wrong}a dict.", "Pass .values(), .items() or list(…) of what is one document.")
    if hasattr(items, "iterrows") or hasattr(items, "iter_rows"):
        raise ConfigError(f"{wrong}a DataFrame.", 'Pass a column (df["text"]) or df.to_dict("records").')
    if hasattr(items, "to_pylist") and hasattr(items, "column_names"):  # of Arrow: its items are columns
        raise ConfigError(f"{wrong}an Arrow table.", 'Pass a column (table["text"].to_pylist()) or table.to_pylist().')
    # Of its type: a class has what its instances are looped over with. And an array without a dimension has what others have.
    is_loop = any(hasattr(type(items), name) for name in ("__aiter__", "__iter__", "__getitem__"))
    if not is_loop or _shape_of(items) == ():
        kind = "class" if isinstance(items, type) else type(items).__name__
        raise ConfigError(f"{wrong}a {kind}, which cannot be looped over.", "Pass a list of documents.")


def _shape_of(items: Any) -> Any:
    """As arrays of any library tell it: a tuple."""
    shape = getattr(items, "shape", None)
    return shape if isinstance(shape, tuple) else None


def checked_executor(of: Step[..., Any], executor: Any) -> Any:
    """Where the calls of a map are made.

    Raises
    ------
    ConfigError
        It is no executor, or this step cannot run there.
    """
    executor = of.executor if executor is None else executors.checked(executor)
    if executor is executors.ON_THE_LOOP:
        if not of.is_async:
            raise ConfigError(
                f'{of.name} is not async, and executor="asyncio" awaits.',
                "Write an `async def`, or leave executor= out.",
            )
        return "threads"  # as for any async step: nobody asks
    if executor in executors.LOCAL:
        return executor
    if of.transaction:
        raise ConfigError(
            f"{of.name} has transaction=True, and its connection cannot leave this process.",
            "Compute in a step with this executor, and write in a second one without.",
        )
    if of.is_async:
        raise ConfigError(
            f"{of.name} is async: it runs on the loop of this process, not on an executor.",
            "Leave executor= out, or write a `def` that calls asyncio.run(…) inside.",
        )
    return executor
