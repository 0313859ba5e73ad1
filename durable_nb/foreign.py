"""What has to be asked of a ``data`` payload that nobody has vouched for, before the unpickler sees it.

Its constructors cannot run code (see ``codecs``), but the machine itself can be driven: a PUT with a huge index fills
32 GB, BUILD sets attributes of a class, and to hash tuples nested 200,000 deep ends the process.
"""

from __future__ import annotations

import pickle
import pickletools

DEEPEST = 1_000
"""Nesting that is read; the pickler itself gives up at about as much."""

# What ``codecs`` writes for `data`. BUILD and NEWOBJ are missing: they could set attributes of the UUID class itself.
_OPCODES = frozenset(
    "PROTO FRAME STOP MARK MEMOIZE BINGET LONG_BINGET POP POP_MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 "  # noqa: SIM905
    "LONG4 BINFLOAT SHORT_BINUNICODE BINUNICODE BINUNICODE8 SHORT_BINBYTES BINBYTES BINBYTES8 BYTEARRAY8 EMPTY_LIST "
    "APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT SETITEM SETITEMS EMPTY_SET ADDITEMS FROZENSET "
    "STACK_GLOBAL REDUCE".split()
)
_FILLING = frozenset({"APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS"})


def refuse_strange(payload: bytes) -> None:
    """Raise for what is never written: strange opcodes, nesting beyond `DEEPEST`, or a stack that does not add up."""
    stack: list[int] = []  # how deep each object is nested
    marks: list[int] = []
    memo: list[int] = []
    for opcode, argument, _ in pickletools.genops(payload):
        if opcode.name not in _OPCODES:
            raise pickle.UnpicklingError(f"{opcode.name} is not data")
        if opcode.name == "MARK":
            marks.append(len(stack))
        elif opcode.name == "MEMOIZE":
            memo.append(stack[-1])
        elif opcode.name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[int(argument or 0)])
        else:
            _turn(opcode, stack, marks)


def _turn(opcode: pickletools.OpcodeInfo, stack: list[int], marks: list[int]) -> None:
    """Do to the depths what an opcode does to the objects."""
    before = opcode.stack_before
    if pickletools.markobject in before:
        start = marks.pop() - before.index(pickletools.markobject)
    else:
        start = len(stack) - len(before)
    if start < 0:
        raise pickle.UnpicklingError("the stack is empty")
    taken = stack[start:]
    del stack[start:]
    if not opcode.stack_after:
        return
    container, parts = (taken[0], taken[1:]) if opcode.name in _FILLING else (0, taken)
    depth = max(container, 1 + max(parts, default=0))
    if depth > DEEPEST:
        raise pickle.UnpicklingError(f"it is nested more than {DEEPEST} deep")
    stack.append(depth)
