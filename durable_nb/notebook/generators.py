"""The state of random number generators: seen to move during a call, and set when the call is restored."""

from __future__ import annotations

import ctypes
import random
import sys
from array import array
from typing import TYPE_CHECKING, Any

from durable_nb import keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from durable_nb.notebook.exposed import Named

States = dict[Any, Any]
"""By 'random', 'numpy' or 'torch' for the generators of those modules, by (module, name) for a global."""

_MT19937_BYTES = 624 * 4 + 4


class Generators:
    """Every generator that a call may draw from, as they are now: those of the modules, and ``own`` ones."""

    _numpy_seen: Any = None
    """The memory of numpy's own generator when it was known to hold no spare number of ``randn``."""

    def __init__(self, own: Named = ()) -> None:
        self._own = own
        self._random = _random_glance()
        # Its memory lacks the spare number: whoever makes one also moves the memory, so it suffices while that is still.
        glance = _numpy_glance()
        self._reads_numpy, self._numpy = _numpy_glance, glance
        if glance is not None and glance != Generators._numpy_seen:
            self._reads_numpy, self._numpy = _numpy_state, _numpy_state()
            Generators._numpy_seen = None if self._numpy[3] else glance
        self._torch = _torch_state()
        self._states = [keys.digest(state_of(generator)) for _, generator in self._own]

    def moved(self) -> States:
        """The new states of those that were drawn from since."""
        found: States = {}
        if _random_glance() != self._random:
            found["random"] = _random_state()
        if self._reads_numpy() != self._numpy:
            found["numpy"] = _numpy_state()
        if (state := _torch_state()) != self._torch:
            found["torch"] = state
        for (place, generator), before in zip(self._own, self._states, strict=True):
            if keys.digest(state := state_of(generator)) != before:
                found[place] = state
        return found


def states_of_modules() -> States:
    """Of the generators of ``random``, numpy and torch, for `set_states`."""
    found = {"random": _random_state(), "numpy": _numpy_state(), "torch": _torch_state()}
    return {name: state for name, state in found.items() if state is not None}


def set_states(states: States, scope: dict[str, Any]) -> None:
    """Put generators where a call had left them."""
    for kind, state in states.items():
        if kind == "random":
            words = array("I")
            words.frombytes(state[1])
            random.setstate((state[0], tuple(words), state[2]))
        elif kind == "numpy":
            import numpy as np

            np.random.set_state((state[0], np.frombuffer(state[1], dtype="uint32"), *state[2:]))  # noqa: NPY002 - theirs
        elif kind == "torch":
            import torch

            torch.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))
        else:
            module, name = kind
            home = scope if module == scope.get("__name__") else vars(sys.modules[module])
            set_state(home[name], state)


def state_of(generator: Any) -> Any:
    """Its state, as plain data."""
    if isinstance(generator, random.Random):
        return generator.getstate()
    source = getattr(generator, "bit_generator", None)
    return source.state if source is not None else _plain(generator.get_state(legacy=True))


def set_state(generator: Any, state: Any) -> None:
    """Put it where `state_of` saw it."""
    if isinstance(generator, random.Random):
        generator.setstate(state)
    elif hasattr(generator, "bit_generator"):
        generator.bit_generator.state = state
    else:
        import numpy as np

        generator.set_state((state[0], np.frombuffer(state[1], dtype="uint32"), *state[2:]))


def _plain(state: tuple[Any, ...]) -> tuple[Any, ...]:
    return (state[0], state[1].tobytes(), *state[2:])


def _random_state() -> Any:
    now = random.getstate()
    return now[0], array("I", now[1]).tobytes(), now[2]


def _random_in_memory() -> Any:
    """Index and words of Python's own generator, as CPython lays them out behind the head of an object; 0.3 µs, not 8."""
    return ctypes.string_at(id(_PYTHONS) + object.__basicsize__, 4 + 624 * 4), _PYTHONS.gauss_next  # type: ignore[attr-defined]


def _is_laid_out_so() -> bool:
    state = random.getstate()[1]
    return (
        sys.implementation.name == "cpython"
        and type(_PYTHONS).__basicsize__ >= object.__basicsize__ + 4 + 624 * 4
        and _random_in_memory()[0] == array("I", (state[-1], *state[:-1])).tobytes()
    )


_PYTHONS: random.Random = random._inst  # noqa: SLF001 - there is no other way to it
_random_glance: Callable[[], Any] = _random_in_memory if _is_laid_out_so() else random.getstate


def _numpy_state() -> Any:
    """Of numpy's own generator, 45 µs; None while nobody has imported it."""
    return _plain(sys.modules["numpy"].random.get_state()) if "numpy.random" in sys.modules else None


def _numpy_glance() -> Any:
    """The memory of numpy's own generator, 1 µs."""
    if "numpy.random" not in sys.modules:
        return None
    numpy_random = sys.modules["numpy"].random
    generator: Any = numpy_random.get_bit_generator() if hasattr(numpy_random, "get_bit_generator") else None
    if type(generator).__name__ != "MT19937":
        return _numpy_state()
    return ctypes.string_at(generator.ctypes.state_address, _MT19937_BYTES)


def _torch_state() -> bytes | None:
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "get_rng_state"):
        return None
    return bytes(torch.get_rng_state().numpy().tobytes())
