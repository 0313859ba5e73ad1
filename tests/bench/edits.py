"""The notebook of `fingerprints`, and the edits that are made to it between two sessions."""

from __future__ import annotations

import textwrap
from typing import NamedTuple

Change = tuple[str, str]

# A cell for each definition, as notebooks have them: joblib identifies a function by the text of its cell too, and would
# pass every row about helpers if these stood in the cell of a decorator.
NOTEBOOK = r'''
import functools, re, threading
from dataclasses import dataclass
# %%
MODEL = "m-small"
WORDS = re.compile(r"\w+")
STOP = {"a", "the", "of"}
# %%
def note(text):
    with open("calls.log", "a") as log:
        log.write(f"{text}\n")
# %%
@dataclass
class Config:
    dim: int = 8
    lang: str = "en"

    def scale(self, x):
        return x * self.dim

config = Config()
# %%
def clean(text):
    """Words that count."""
    return [word for word in WORDS.findall(text.lower()) if word not in STOP]
# %%
def make(k):
    def inner(x, *, power=2):
        return float(x ** k + power)
    return inner

cube = make(3)
# %%
half = lambda v: [x / 2 for x in v]; third = lambda v: [x / 3 for x in v]
# %%
@LIBRARY
def embed(text: str, n=3) -> list:
    # the calls are counted
    note(text)
    vector = half([config.scale(cube(len(word))) for word in clean(text)][:n])
    return vector + [float(len(MODEL))]
# %%
def prepared(item):
    return item.strip(".")
# %%
ITEMS = ["1 the data-set of one.", "2 the data-set of two!", "3 a data-set", "4 data-sets, of a kindness", "5 the data-set of all"]
'''


class Edit(NamedTuple):
    """A row: what is replaced in the notebook before the second session."""

    name: str
    changes: tuple[Change, ...] = ()
    before: tuple[Change, ...] = ()
    """Replaced in both sessions: another notebook to begin with."""
    is_same_kernel: bool = False
    is_newer_python: bool = False


_CLASS = "class Client:\n    def __init__(self, name):\n        self.name, self.lock = name, threading.Lock()\n# %%\n"
_CLIENT = (
    ("# %%\ndef make(k):", f"# %%\n{_CLASS}client = Client('small')\n# %%\ndef make(k):"),
    ("[float(len(MODEL))]", "[float(len(client.name))]"),
)
_FUNCTION = NOTEBOOK[NOTEBOOK.index("@LIBRARY") : NOTEBOOK.index("# %%\ndef prepared")]
_INNER = textwrap.indent(_FUNCTION.replace("[float(len(MODEL))]", "[float(k)]"), "    ")
_FACTORY = ((_FUNCTION, f"def build(k):\n{_INNER}    return embed\n# %%\nembed = build(2)\n"),)
_DECO = """def deco(f):
    @functools.wraps(f)
    def wrapper(*args, **kwargs):
        return f(*args, **kwargs) + [1.0]
    return wrapper
# %%
"""
_DECORATED = ((_FUNCTION, _DECO + _FUNCTION.replace("@LIBRARY\n", "@LIBRARY\n@deco\n")),)
_WRITTEN = 'with open("weights.py", "w") as file:\n    file.write("def weight():\\n    return 2.0\\n")\n'
_MODULE = (
    ("# %%\ndef make(k):", f"# %%\n{_WRITTEN}from weights import weight\n# %%\ndef make(k):"),
    ("[float(len(MODEL))]", "[float(len(MODEL)) * weight()]"),
)

EDITS = (
    Edit("none, new kernel"),
    Edit("none, the cells run again in the same kernel", is_same_kernel=True),
    Edit("none, Python 3.11 → 3.13", is_newer_python=True),
    Edit("a comment in the function", (("# the calls are counted", "# each call is counted\n\n    # in a file"),)),
    Edit("a comment and a variable above it in its cell", (("@LIBRARY", "# the model\nunrelated = 1\n\n@LIBRARY"),)),
    Edit("a cell before", (("\nimport functools", "import math\n# %%\nimport functools"),)),
    Edit("docstring of a helper", (('"""Words that count."""', '"""The words that count."""'),)),
    Edit("annotations", (("text: str, n=3) -> list", "text, n=3)"),)),
    Edit("quotes, brackets, line breaks", (
        ('"m-small"', "'m-small'"), ("x / 2 for", "(x / 2) for"),
        ("vector = half([config", "vector = half(\n        [config"), ("clean(text)][:n])", "clean(text)][:n]\n    )"),
    )),
    Edit("a set written in another order", (('{"a", "the", "of"}', '{"of", "the", "a"}'),)),
    Edit("the other lambda of the line, not used", (("x / 3", "x / 4"),)),
    Edit("its own body", (("return vector + [", "return [0.5] + vector + ["),)),
    Edit("body of a helper", (("(text.lower())", "(text.lower())[::-1]"),)),
    Edit("a helper, in the same kernel", (("return float(x ** k", "return float(1 + x ** k"),), is_same_kernel=True),
    Edit("a constant", (("m-small", "m-very-large"),)),
    Edit("a regular expression", ((r"\w+", r"[\w-]+"),)),
    Edit("a word more in a set", (('"of"}', '"of", "data"}'),)),
    Edit("closure variable", (("make(3)", "make(4)"),)),
    Edit("default of a keyword in a closure", (("power=2", "power=5"),)),
    Edit("default of the function", (("n=3", "n=1"),)),
    Edit("a lambda", (("x / 2", "x / 4"),)),
    Edit("a method", (("x * self.dim", "x + self.dim"),)),
    Edit("default of a dataclass field", (("dim: int = 8", "dim: int = 9"),)),
    Edit("a decorator of the user: none", (), _DECORATED),
    Edit("body of a decorator of the user", (("+ [1.0]", "+ [2.0]"),), _DECORATED),
    Edit("a client with a lock: none", (), _CLIENT),
    Edit("a client made with another argument", (("Client('small')", "Client('very large')"),), _CLIENT),
    Edit("a function made by a factory: none", (), _FACTORY),
    Edit("closure variable of a function made by a factory", (("build(2)", "build(3)"),), _FACTORY),
    Edit("a helper in an own module: none", (), _MODULE),
    Edit("a helper in an own module", (("return 2.0", "return 2.25"),), _MODULE),
    Edit("what builds the arguments: 1 of 5 comes out otherwise", (('.strip(".")', '.strip(".").replace("two!", "twofold")'),)),
    Edit("1 of 5 items changed", (('"3 a data-set"', '"3 the other data-set"'),)),
    Edit("2 items appended", (('of all"]', 'of all", "6 more data", "7 most data-sets"]'),)),
    Edit("an item removed at the front", (('"1 the data-set of one.", ', ""),)),
    Edit("items in another order", (("ITEMS = [", 'ITEMS = ["5 the data-set of all", '), (', "5 the data-set of all"]\n', "]\n"))),
)  # fmt: skip
