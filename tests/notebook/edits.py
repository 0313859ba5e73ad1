"""Edits of a notebook between two runs of a durable cell, for `test_edits`."""

from __future__ import annotations

from typing import NamedTuple

DOCS = [f"d{i}" for i in range(10)]
SETUP = """
import fakelib, random
from concurrent.futures import ThreadPoolExecutor
docs = [f"d{i}" for i in range(10)]
PROMPT, MARK = "about {}", "."
def executed(text):
    with open("executed.log", "a") as log:
        log.write(f"{text}\\n")
def trim(text):
    return text.strip()
def clean(text):
    return trim(text)
def embed(text, size=2, *, unit="px"):
    executed(text)
    return f"e({text}) {size}{unit}"
def score(text):
    executed(text)
    return "s(" + clean(text) + MARK
class Model:
    def __init__(self, name):
        self.name = name
    def encode(self, text):
        executed(text)
        return self.name + text
def noisy(text):
    executed(f"noisy {text}")
    return text
def use(model, text):
    return model.encode(text)
"""
LIBRARY = """
import threading
class Model:
    def __init__(self, name):
        self.name, self._lock = name, threading.Lock()
    def encode(self, text):
        with open("executed.log", "a") as log:
            log.write(f"{text}\\n")
        return self.name + text
class Trainer:
    def __init__(self, model, name):
        self.model, self.name, self._lock = model, name, threading.Lock()
    def train(self):
        self.model.name = self.name
def rename(model, name):
    model.name = name
"""
EMBED = SETUP[SETUP.index("def embed") : SETUP.index("def score")]
SCORE = SETUP[SETUP.index("def score") : SETUP.index("class Model")]
MODEL = SETUP[SETUP.index("class Model") : SETUP.index("def noisy")]
PLAIN = "out = []\nfor d in docs:\n    out.append(embed(d))"
BUILT = "out = []\nfor d in docs:\n    out.append(embed(clean(d)))"
INSIDE = "out = []\nfor d in docs:\n    out.append(score(d))"
ENCODED = "out = [model.encode(d) for d in docs]"
POOL = "with ThreadPoolExecutor(2) as pool:\n    out = list(pool.map(embed, docs))"
NOISY = "out = []\nfor d in docs:\n    out.append(embed(noisy(d)))"
INDEX = "out = []\nfor i in range(len(docs)):\n    out.append(embed(CALL))"
BATCHES = "out = []\nfor i in range(0, len(docs), 4):\n    out.append(embed(docs[i : i + 4]))"
TWO = "out = []\nfor d in docs:\n    out.append(embed(d))\nfor d in docs:\n    out.append(score(d))"
SWAPPED = "out = []\nfor d in docs:\n    out.append(score(d))\nfor d in docs:\n    out.append(embed(d))"
PROMPTED = "out = [embed(PROMPT.format(d)) for d in docs]"
FIXED = 'def clean(text):\n    return trim(text).replace("d3", "D3").replace("d7", "D7")'
EMBED_2 = EMBED.replace("e({text})", "E({text})")


class Edit(NamedTuple):
    """What is edited between two runs, and what the second one computes."""

    title: str
    before: str = PLAIN
    after: str = ""
    """The cell; '' for the same as before."""
    changed: str = ""
    """Run in another cell between the two."""
    computed: list[str] = []  # noqa: RUF012 - never changed
    options: str = ""
    above: str = ""
    """Run in another cell before the first."""
    result: str = ""
    """Of the second run, an expression; '' for what the edited cell gives when it is run plainly."""


class Question(NamedTuple):
    """An edit of what is called: the cell stops and shows what changed."""

    title: str
    changed: str
    shown: tuple[str, ...]
    before: str = PLAIN
    above: str = ""
    after: str = ""
    """The cell; '' for the same as before."""


KEPT = [
    Edit("nothing"),
    Edit("the same functions defined again", changed=SETUP),
    Edit("insert at the front", changed='docs.insert(0, "new")', computed=["new"]),
    Edit("append in the middle", changed='docs[5:5] = ["new 1", "new 2"]', computed=["new 1", "new 2"]),
    Edit("shuffle", changed="random.Random(3).shuffle(docs)"),
    Edit("remove five", changed="docs = docs[5:]"),
    Edit("every document twice", changed="docs = docs * 2", computed=DOCS),
    Edit("loop variable renamed", after="out = []\nfor doc in docs:\n    out.append(embed(doc))"),
    Edit("loop variable renamed in a call", BUILT, "out = []\nfor doc in docs:\n    out.append(embed(clean(doc)))"),
    Edit("for to comprehension", after="out = [embed(d) for d in docs]"),
    Edit("comprehension to for", "out = [embed(d) for d in docs]", PLAIN),
    Edit("built for to comprehension", BUILT, "out = [embed(clean(d)) for d in docs]"),
    Edit("print added", after=PLAIN.replace("    out", "    print(end='')\n    out")),
    Edit(
        "another step before it",
        after=PLAIN.replace("    out", "    z = score('z' + d)\n    out"),
        computed=["z" + d for d in DOCS],
    ),
    Edit("tqdm", after=PLAIN.replace("docs", "tqdm(docs, disable=True)"), changed="from tqdm import tqdm"),
    Edit("enumerate", after=PLAIN.replace("d in docs", "i, d in enumerate(docs)")),
    Edit("while", after="out, i = [], 0\nwhile i < len(docs):\n    out.append(embed(docs[i]))\n    i += 1"),
    Edit(
        "try around it",
        after="out = []\nfor d in docs:\n    try:\n        out.append(embed(d))\n    except OSError:\n        raise",
    ),
    Edit("other arguments", after=PLAIN.replace("(d)", "(d.upper())"), computed=[d.upper() for d in DOCS]),
    Edit("one argument more", after=PLAIN.replace("(d)", "(d, 3)"), computed=DOCS),
    Edit(
        "keywords reordered",
        PLAIN.replace("(d)", "(d, size=1, unit='cm')"),
        PLAIN.replace("(d)", "(d, unit='cm', size=1)"),
    ),
    Edit("documents as a tuple", changed="docs = tuple(docs)"),
    Edit(
        "arguments from lists to tuples",
        PLAIN.replace("(d)", "([d])"),
        PLAIN.replace("(d)", "((d,))"),
        computed=[f"('{d}',)" for d in DOCS],
    ),
    Edit("loop to thread pool", after=POOL),
    Edit("thread pool to loop", POOL, PLAIN),
    Edit(
        "thread pool to submit",
        POOL,
        "with ThreadPoolExecutor(2) as pool:\n    out = [f.result() for f in [pool.submit(embed, d) for d in docs]]",
    ),
    Edit("two loops swapped", TWO, SWAPPED),
    Edit(
        "the same call in a second loop",
        after=PLAIN + "\nfor d in docs[:3]:\n    out.append(embed(d))",
        computed=DOCS[:3],
    ),
    Edit("index, grown", INDEX.replace("CALL", "docs[i]"), changed='docs.append("new")', computed=["new"]),
    Edit(
        "index, built, grown",
        INDEX.replace("CALL", "clean(docs[i])"),
        changed='docs.insert(2, "new")',
        computed=["new"],
    ),
    Edit("batches, grown", BATCHES, changed='docs.append("new")', computed=["['d8', 'd9', 'new']"]),
    Edit(
        "batches of another size",
        BATCHES,
        BATCHES.replace("4", "2"),
        computed=["['d0', 'd1']", "['d2', 'd3']", "['d4', 'd5']", "['d6', 'd7']"],
    ),
    Edit("split into two assignments", BUILT, "out = []\nfor d in docs:\n    x = clean(d)\n    out.append(embed(x))"),
    Edit("joined into one expression", "out = []\nfor d in docs:\n    x = clean(d)\n    out.append(embed(x))", BUILT),
    Edit("builder replaced by a method", BUILT, BUILT.replace("clean(d)", "d.strip()")),
    Edit("builder fixed for two", BUILT, changed=FIXED, computed=["D3", "D7"]),
    Edit(
        "helper of a builder fixed for one",
        BUILT,
        changed=SETUP[SETUP.index("def trim") : SETUP.index("def clean")].replace("strip()", 'replace("d5", "D5")'),
        computed=["D5"],
    ),
    Edit("builder written differently", BUILT, changed="def clean(text):\n    found = trim(text)\n    return found"),
    Edit("prompt template", PROMPTED, changed='PROMPT = "about the {}"', computed=[f"about the {d}" for d in DOCS]),
    Edit("model made the same way", ENCODED, above='model = Model("m")', changed='# again\nmodel  =  Model( "m" )'),
    Edit("another model of ours", ENCODED, above='model = Model("m")', changed='model = Model("n")', computed=DOCS),
    Edit("comment in the step", changed=EMBED.replace("    executed", "    # why\n\n    executed")),
    Edit("docstring in the step", changed=EMBED.replace("    executed", '    """A vector."""\n    executed')),
    Edit(
        "annotations in the step",
        changed=EMBED.replace("text, size=2", "text: str, size: int = 2").replace("):", ") -> str:"),
    ),
    Edit(
        "whitespace in the cell",
        after="# a comment\nout  =  [ ]\n\nfor d in docs :\n\n    out.append( embed( d ) )  # here",
    ),
    Edit("condition in the loop", after=PLAIN.replace("    out", "    if d != 'd4':\n        out")),
    Edit("step kept", changed=EMBED_2, options="--on-change keep", result="[f'e({d}) 2px' for d in docs]"),
    Edit("step recomputed", changed=EMBED_2, options="--on-change recompute", computed=DOCS),
    Edit(
        "helper kept, with a new document",
        INSIDE,
        changed=FIXED + '\ndocs.append("new")',
        options="--on-change keep",
        computed=["new"],
        result="[f's({d}.' for d in docs]",
    ),
    Edit("helper recomputed", INSIDE, changed=FIXED, options="--on-change recompute", computed=DOCS),
    Edit(
        "step and builder changed, kept",
        BUILT,
        changed=f"{FIXED}\n{EMBED_2}",
        options="--on-change keep",
        computed=["D3", "D7"],
        result="[f'E({d.upper()}) 2px' if d in ('d3', 'd7') else f'e({d}) 2px' for d in docs]",
    ),
    Edit("finished arguments are not built again", NOISY),
    Edit(
        "a builder that becomes a step",
        NOISY,
        "out = []\nfor d in docs:\n    x = noisy(d)\n    out.append(embed(x))",
        computed=[f"noisy {d}" for d in DOCS],
    ),
    Edit(
        "step renamed",
        after=PLAIN.replace("embed", "embed_2"),
        changed=EMBED.replace("embed", "embed_2"),
        computed=DOCS,
    ),
    Edit(
        "library model made the same way",
        ENCODED,
        above='model = fakelib.Model("m")',
        changed='# again\nmodel  =  fakelib.Model( "m" )',
    ),
    Edit(
        "library model that was tried out",
        ENCODED,
        above='model = fakelib.Model("m")',
        changed='print(model)\nuse(model, "try")',
        computed=["try"],
    ),
    Edit(
        "another library model as an argument",
        "out = [use(model, d) for d in docs]",
        above='model = fakelib.Model("m")',
        changed='model = fakelib.Model("n")',
        computed=DOCS,
    ),
]
ASKED = [
    Question("body", EMBED_2, ("def:embed", '-    return f"e({text})', '+    return f"E({text})')),
    Question("helper", FIXED, ("def:clean", "-    return trim(text)\n", '+    return trim(text).replace("d3"'), INSIDE),
    Question(
        "helper two levels down",
        "def trim(text):\n    return text.strip().upper()",
        ("def:trim", "+    return text.strip().upper()"),
        INSIDE,
    ),
    Question("constant", 'MARK = "!"', ("global MARK: '.' → '!'",), INSIDE),
    Question("default argument", EMBED.replace("size=2", "size=3"), ("default size of embed: 2 → 3",)),
    Question("keyword default", EMBED.replace('"px"', '"cm"'), ("default unit of embed: 'px' → 'cm'",)),
    Question("handed to a pool", EMBED_2, ("def:embed",), POOL),
    Question("builder and step", f"{FIXED}\n{EMBED_2}", ("def:embed", '+    return f"E({text})'), BUILT),
    Question(
        "method",
        MODEL.replace("self.name + text", "text + self.name") + '\nmodel = Model("m")',
        ("encode", "text + self.name"),
        ENCODED,
        'model = Model("m")',
    ),
    Question(
        "model of a library",
        'model = fakelib.Model("n")',
        ("global model", "fakelib.Model('n')"),
        ENCODED,
        'model = fakelib.Model("m")',
    ),
    Question(
        "function of a library that changes a model",
        'fakelib.rename(model, "n")',
        ("global model", "fakelib.rename(model, 'n')"),
        ENCODED,
        'model = fakelib.Model("m")',
    ),
    Question(
        "trainer of a model",
        'trainer = fakelib.Trainer(model, "n")\ntrainer.train()',
        ("global model", "fakelib.Trainer(model, 'n')", "trainer.train()"),
        ENCODED,
        'model = fakelib.Model("m")',
    ),
    Question(
        "function that sets the global model anew",
        'load("n")',
        ("global model", "load('n')"),
        ENCODED,
        'def load(name):\n    global model\n    model = fakelib.Model(name)\nload("m")',
    ),
    Question(
        "lambda handed to map",
        "",
        ("-", "+"),
        "out = list(map(lambda d: embed(d), docs))",
        after="out = list(map(lambda d: embed(d) + '!', docs))",
    ),
    Question(
        "lambda above",
        "shout = lambda d: embed(d) + '!'",
        ("-lambda d: embed(d)", "+lambda d: embed(d) + '!'"),
        "out = list(map(shout, docs))",
        "shout = lambda d: embed(d)",
    ),
]
