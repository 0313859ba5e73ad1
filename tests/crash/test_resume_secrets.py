"""An API key of a notebook is nowhere in the files of the database, however it came into the notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.kernels import lines, wait_until
from tests.matrix import usual

if TYPE_CHECKING:
    from pathlib import Path

    from tests.notebook.cells import Start

KEYS = ("sk-live-0123456789abcdef", "zq7Kp2Xv9Lm4Rt8Wb3Nc")
"""One that has the form of a key, and one that has none."""
LOAD = """%load_ext durable_nb
import os, time
class Client:
    def __init__(self, api_key, base="https://example.org"):
        self.api_key, self.headers = api_key, {"Authorization": "Bearer " + api_key}
    def ask(self, doc):
        with open("executed.log", "a") as log:
            log.write(doc + "\\n")
        time.sleep(0.02)
        assert self.api_key
        return doc.upper()
docs = [f"page {n}" for n in range(12)]"""
CELL = "%%durable asking\nanswers = []\nfor doc in docs:\n    answers.append(ask(doc))"
DOCUMENTS = 12
WAYS = {
    "variable": "API_KEY = '{key}'\nclient = Client(API_KEY)\ndef ask(doc):\n    return client.ask(doc)",
    "client": "client = Client('{key}')\ndef ask(doc):\n    return client.ask(doc)",
    "closure": "def made(token):\n    client = Client(token)\n    def ask(doc):\n        return client.ask(doc)\n    return ask\nask = made('{key}')",
    "default": "def ask(doc, api_key='{key}'):\n    return Client(api_key).ask(doc)",
    "code": "def ask(doc):\n    return Client(api_key='{key}').ask(doc)  # the key is {key}",
    "nested": "settings = {{'service': {{'url': 'x', 'api_key': '{key}'}}}}\ndef ask(doc):\n    return Client(settings['service']['api_key']).ask(doc)",
    "list": "API_KEY = '{key}'\nheaders = ['Accept: *', 'X-Api-Key: ' + API_KEY]\ndef ask(doc):\n    return Client(headers[1].split()[-1]).ask(doc)",
    "class": "class Settings:\n    api_key = '{key}'\ndef ask(doc):\n    return Client(Settings.api_key).ask(doc)",
    "environment": "key_of_env = os.environ['ASKING_KEY']\ncopy = dict(os.environ)\ndef ask(doc):\n    return Client(copy['ASKING_KEY'] or key_of_env).ask(doc)",
    "partial": "import functools\ndef ask_with(key, doc):\n    return Client(key).ask(doc)\nAPI_KEY = '{key}'\nask = functools.partial(ask_with, API_KEY)",
    "magic": "%env SERVICE_API_KEY={key}\ndef ask(doc):\n    return Client(os.environ['SERVICE_API_KEY']).ask(doc)",
}


def everything(folder: Path) -> bytes:
    """All bytes of the database and its log."""
    return b"".join(path.read_bytes() for path in sorted((folder / ".durable_nb").iterdir()))


@pytest.mark.parametrize("key", usual(KEYS, KEYS[0]), ids=["form", "plain"])
def test_no_byte_of_a_key_is_stored(kernel: Start, key: str) -> None:
    """In a variable, client, closure, default, the code, a collection, a class, the environment: not while the cell runs,
    not after it, nor after a kernel has resumed it, or was told what to run and then resumed it.
    """
    one, two = kernel(ASKING_KEY=key), kernel(ASKING_KEY=key)
    two.ok("%load_ext durable_nb")
    found, told = {}, {}
    for number, (way, code) in enumerate(WAYS.items(), 1):
        one.ok("%reset -f")  # so that no other way tells that this is a key
        one.ok(LOAD)
        one.ok(code.format(key=key))
        cell = one.start(CELL.replace("asking", f"asking-{way}"))
        wait_until(lambda: len(lines(one.folder / "executed.log")) > DOCUMENTS * number - 5, describing="it runs")  # noqa: B023
        found[way, "during"] = key.encode() in everything(one.folder)
        assert "ok" == one.finish(cell).status
        found[way, "after"] = key.encode() in everything(one.folder)
        two.ok("%reset -f")
        reply = two.run(f"%durable resume asking-{way}")
        if reply.status != "ok":
            two.ok(code.format(key=key))
            two.ok(f"%durable resume asking-{way}")
        found[way, "resumed"] = key.encode() in everything(two.folder)
        told[way] = key in reply.text
        assert str(DOCUMENTS) == two.ok("len(answers)").result

    assert [] == [where for where, is_there in found.items() if is_there]
    assert [] == [way for way, is_said in told.items() if is_said]
    assert b"answers.append(ask(doc))" in everything(one.folder)
    assert DOCUMENTS * len(WAYS) == len(lines(two.folder / "executed.log"))


@pytest.mark.parametrize("key", KEYS, ids=["form", "plain"])
def test_a_key_in_the_cell_itself(kernel: Start, key: str) -> None:
    """The cell is stored without it, and says that it has to be run by hand."""
    one = kernel()
    one.ok(LOAD)
    cell = f"%%durable asking\nclient = Client(api_key='{key}')\nanswers = [client.ask(doc) for doc in docs]"
    one.ok(cell)
    one.ok("client = None")
    told = one.run("%durable resume asking")

    assert key.encode() not in everything(one.folder)
    assert "holds what looks like a credential" in told.error and "api_key='***'" in told.error
    assert key not in told.text
    one.ok(cell)
    assert DOCUMENTS == len(lines(one.folder / "executed.log"))
