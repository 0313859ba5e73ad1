"""Where a store is: whatever its folder is called, a path means that path."""

from __future__ import annotations

import os

import pytest

from durable_nb import config, glance
from durable_nb.registry import Known
from durable_nb.server.places import Places
from durable_nb.store import Store, owner_of_this_process
from tests.store.examples import Counts

TRICKY = ["Why?1", "My%20Project", "q?a=b", "50%", "a#b@c:d", "%3F", "caf\udce9", "~", "two words"]


@pytest.fixture(params=TRICKY, ids=ascii)
def folder(request, tmp_path):
    """A folder whose name would mean something else in a URL."""
    made = tmp_path / request.param
    made.mkdir()
    return made


def test_the_database_is_beside_the_notebook(folder, opens):
    """Its address is that of this file and no other, as often as it is written and read."""
    url = config.database_url("", folder=folder)
    store = opens(url)
    path = folder / ".durable_nb" / "durable.db"

    assert path.is_file()
    assert [folder] == list(folder.parent.iterdir())
    assert str(path) == store.where == config.file_of(url) == config.file_of(store.url)
    assert store.id == Store.identity(store.url) == Store.identity(config.database_url(store.url, folder=folder))
    assert Store.exists(store.url)
    assert [] == opens(store.url).check()


@pytest.mark.parametrize("given", ["kept?.db", "kept%41.db"])
def test_a_path_means_that_path(folder, given, opens):
    """Relative to the folder or absolute, in an argument or in pyproject.toml."""
    absolute = str(folder / given)
    (folder / "pyproject.toml").write_text(f"[tool.durable_nb]\nurl = '{given}'\n")
    in_file = config.settings({}, folder=folder, environ={}).url
    for url in (given, absolute, in_file):
        opens(config.database_url(url, folder=folder)).close()

    assert {given, "pyproject.toml", ".gitignore"} >= {path.name for path in folder.iterdir()} >= {given}


def test_a_url_is_read_as_a_url(tmp_path, opens):
    """What is escaped in it means the character, with every SQLAlchemy."""
    opens(f"sqlite:///{tmp_path}/My%20Runs%3F.db")

    assert (tmp_path / "My Runs?.db").is_file()


@pytest.mark.parametrize("name", ["project", "two words", "Grüße", "a#b+c@d"])
def test_an_ordinary_path_is_written_as_it_is(tmp_path, name):
    """Addresses of before, in settings and in the environment of workers, stay the same text."""
    assert f"sqlite:///{tmp_path}/{name}/.durable_nb/durable.db" == config.database_url("", folder=tmp_path / name)


def test_who_only_looks_finds_it(folder, opens):
    """The look of %load_ext, and a server by the folder, by the notebook and by what kernels noted."""
    store = opens(config.database_url("", folder=folder))
    owner = owner_of_this_process()
    run = store.begin("embed", owner=owner)
    store.watch(run.id, owner=owner, ledger=Counts())
    store.finish(run.id, owner=owner, state="interrupted")
    noted = Known(store.id, store.where, "")
    asked = [
        Places(folder.parent, environ={}, known=list).of_notebook(f"{folder.name}/a.ipynb"),
        Places(folder.parent, environ={}, known=list).of_folder(folder.name),
        Places(folder.parent, environ={}, known=lambda: [noted]).of_folder(""),
        Places(folder.parent, [store.where], environ={}, known=list).configured(),
    ]

    assert ["embed"] == [one.name for one in glance.unfinished(store.where, "")]
    assert [[(store.id, os.path.relpath(store.where, folder.parent))]] * 4 == [
        [(place.store, place.where) for place in places] for places in asked
    ]
    with_url = Store.read_only(asked[0][0].url)
    assert "embed" == with_url.runs()[0].name
    with_url.close()
