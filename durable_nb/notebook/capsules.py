"""A capsule as the store has it: JSON that says by name what a cell reads, and the bytes of the values among it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from durable_nb import codecs
from durable_nb.errors import StoreError
from durable_nb.notebook.makers import Made
from durable_nb.store.capsules import Capsule

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT = 1
STATES = "the generators of random, numpy and torch"
"""What a group is called that holds their states: the cell draws the numbers that it drew."""
KINDS = ("source", "module", "value", "secret", "made")


class Need(NamedTuple):
    """One name that a cell reads, or that must be there to make such a one again."""

    name: str
    kind: str
    """
    ``source``   a function, class or import: the statement is executed again
    ``module``   imported by its name
    ``value``    data, in the payload
    ``secret``   looks like a credential, so it is not stored; perhaps the environment has it
    ``shown``    what another cell showed: ``_``, ``Out[4]``
    ``made``     too large, or nothing that bytes can bring back: the statement and the cell that made it
    """
    why: str = ""
    """What a module is called, and the modules in it that were imported by that name; of what is not stored, the reason."""
    made: Made = Made(0, 0, "", "", "")
    """Without credentials; nothing of what no cell made."""
    is_whole: bool = True
    """Whether its statement is stored as it was typed, so that it can be executed."""
    is_support: bool = False
    """Only read by the cells that make others."""
    digest: str = ""
    """Of large data; of a function, of its default arguments."""
    file: dict[str, Any] | None = None
    """Path, size, time of change and digest, if the value is the path of a file."""


class Unpacked(NamedTuple):
    """What a capsule holds."""

    run: str
    cell: str
    """Its source, as it was typed but for credentials and the address of the database."""
    is_whole: bool
    """Whether it holds no credential, so that it can be run."""
    cell_id: str
    notebook: str
    folder: str
    """Where the kernel was."""
    needs: tuple[Need, ...]
    groups: tuple[tuple[tuple[str, ...], str, bytes], ...]
    """Names that share parts, with codec and payload of a dict of their values."""
    at: float = 0.0


def packed(unpacked: Unpacked) -> Capsule:
    """To be saved."""
    fields = unpacked._asdict() | {"format": FORMAT}
    cells = list(dict.fromkeys(need.made.cell for need in unpacked.needs))  # each once, whatever it made
    places = {cell: place for place, cell in enumerate(cells)}
    fields["cells"] = cells
    fields["needs"] = [
        need._asdict() | {"made": need.made._asdict() | {"cell": places[need.made.cell]}} for need in unpacked.needs
    ]
    fields["groups"] = [[names, codec, len(payload)] for names, codec, payload in unpacked.groups]
    payload = b"".join(payload for _, _, payload in unpacked.groups)
    return Capsule(json.dumps(fields, separators=(",", ":")), payload)


def unpacked(capsule: Capsule, where: str) -> Unpacked:
    """What was saved; StoreError for what another version saved, or nobody."""
    try:
        fields = json.loads(capsule.manifest)
        if fields.pop("format") != FORMAT:
            raise StoreError(where, "holds a capsule of another version of durable_nb.", "Run the cells by hand.")
        cells = fields.pop("cells")
        fields["needs"] = tuple(_need(need, cells) for need in fields["needs"])
        fields["groups"] = tuple(_sliced(fields["groups"], capsule.payload))
        return Unpacked(**fields)._replace(at=capsule.at)
    except (LookupError, TypeError, ValueError) as error:
        raise StoreError(where, f"holds a capsule that cannot be read ({error}).", "Run the cells by hand.") from error


def _need(fields: dict[str, Any], cells: list[str]) -> Need:
    made = Made(**fields["made"])
    return Need(**(fields | {"made": made._replace(cell=cells[fields["made"]["cell"]])}))


def _sliced(groups: Iterable[Any], payload: bytes) -> Iterable[tuple[tuple[str, ...], str, bytes]]:
    start = 0
    for names, codec, size in groups:
        yield tuple(names), codec, payload[start : start + size]
        start += size


def values_of(group: tuple[tuple[str, ...], str, bytes], where: str) -> dict[str, Any]:
    """By name; raises what `durable_nb.codecs.decode` does."""
    names, codec, payload = group
    found = codecs.decode(codec, payload, where=where)
    if not isinstance(found, dict) or set(found) != set(names):
        raise StoreError(where, "holds a capsule whose values are not those that it names.", "Run the cells by hand.")
    return found
