"""Which databases a server may open, and that no request can talk it into another one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from durable_nb import registry
from durable_nb.errors import ConfigError
from durable_nb.registry import Known
from durable_nb.server.places import Places
from durable_nb.store import Store

if TYPE_CHECKING:
    from pathlib import Path

SERVER = "postgresql+psycopg://ada:secret@db.example.org/corpus"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of a server: a project with a database, and a link that leaves it."""
    (tmp_path / "root" / "project").mkdir(parents=True)
    database(tmp_path / "root" / "project")
    (tmp_path / "elsewhere").mkdir()
    database(tmp_path / "elsewhere")
    (tmp_path / "root" / "way-out").symlink_to(tmp_path / "elsewhere")
    return tmp_path / "root"


def database(folder: Path) -> Path:
    """A file where the notebooks of a folder keep their runs by default."""
    path = folder / ".durable_nb" / "durable.db"
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def places(
    root: Path, *configured: str, environ: dict[str, str] | None = None, known: list[Known] | None = None
) -> Places:
    """The places of a server that is told nothing else."""
    return Places(root, configured, environ=environ or {}, known=lambda: known or [])


def test_the_database_beside_a_notebook_is_found(root: Path) -> None:
    """A notebook's folder has its default database, shown as a path below the root; its id finds it again."""
    ours = places(root)
    (place,) = ours.of_notebook("project/a.ipynb")

    assert "project/.durable_nb/durable.db" == place.where
    assert place == ours.find(place.store, "project/a.ipynb")
    assert [place] == ours.of_folder("project")


@pytest.mark.parametrize(
    "relative",
    ["../elsewhere/a.ipynb", "project/../../elsewhere/a.ipynb", "/etc/a.ipynb", "project\0/a.ipynb", "way-out/a.ipynb",
     "..\\elsewhere\\a.ipynb", "C:\\a\\b.ipynb", "C:/a.ipynb", "project/./../..//elsewhere/a.ipynb", "x" * 5_000 + "/a.ipynb"],
)  # fmt: skip
def test_a_notebook_outside_of_the_root_is_refused(root: Path, relative: str) -> None:
    """No way of writing a path, and no link, leads out of the server's folder."""
    other = Store.identity(f"sqlite:///{root.parent / 'elsewhere' / '.durable_nb' / 'durable.db'}")
    for ask in (places(root).of_notebook, lambda path: places(root).find(other, path)):
        with pytest.raises(ConfigError, match="folder of this server"):
            ask(relative)


def test_a_folder_that_does_not_exist_has_nothing(root: Path) -> None:
    """A notebook of another drive, or one that is gone, is not an error: there is nothing to see."""
    assert [] == places(root).of_notebook("gone/a.ipynb")
    assert [] == places(root).of_folder("gone/deeper")


def test_a_database_that_is_a_link_to_the_outside_is_not_opened(root: Path) -> None:
    """A downloaded project cannot point the server at a file elsewhere by a symbolic link in the place of its database."""
    own = database(root / "linked")
    own.unlink()
    own.symlink_to(root.parent / "elsewhere" / ".durable_nb" / "durable.db")

    assert [] == places(root).of_notebook("linked/a.ipynb")


def test_only_files_are_opened(root: Path) -> None:
    """Neither a folder nor a pipe, which would hang the server, passes for a database."""
    (root / "a" / ".durable_nb" / "durable.db").mkdir(parents=True)
    (root / "b" / ".durable_nb").mkdir(parents=True)
    os.mkfifo(root / "b" / ".durable_nb" / "durable.db")

    assert [] == places(root).of_notebook("a/a.ipynb")
    assert [] == places(root).of_notebook("b/a.ipynb")


@pytest.mark.parametrize("url", ["../../elsewhere/.durable_nb/durable.db", "sqlite:////etc/passwd", "/etc/passwd"])
def test_settings_of_a_project_cannot_name_a_file_outside(root: Path, url: str) -> None:
    """The pyproject.toml of a folder may choose any file below the root, and none outside of it."""
    (root / "project" / "pyproject.toml").write_text(f'[tool.durable_nb]\nurl = "{url}"\n')

    assert [] == places(root).of_notebook("project/a.ipynb")


def test_settings_of_a_project_may_name_a_file_inside(root: Path) -> None:
    """The pyproject.toml of a folder chooses the database of its notebooks."""
    (root / "project" / "shared.db").touch()
    (root / "project" / "pyproject.toml").write_text('[tool.durable_nb]\nurl = "shared.db"\n')

    assert ["project/shared.db"] == [place.where for place in places(root).of_notebook("project/a.ipynb")]


def test_a_project_cannot_make_the_server_call_a_host(root: Path) -> None:
    """An address in a pyproject.toml is opened only once a kernel of this user has; its password is not shown."""
    (root / "project" / "pyproject.toml").write_text(f'[tool.durable_nb]\nurl = "{SERVER}"\n')
    used = Known(Store.identity(SERVER), "postgresql+psycopg://ada:***@db.example.org/corpus", "")
    (place,) = places(root, known=[used]).of_notebook("project/a.ipynb")

    assert [] == places(root).of_notebook("project/a.ipynb")
    assert SERVER == place.url
    assert "secret" not in place.where + place.store


@pytest.mark.parametrize(
    "option",
    [
        "host=evil.example",
        "port=99&hostaddr=6.6.6.6",
        "service=evil",
        "passfile=here",
        "sslmode=disable",
        "dbname=other",
    ],
)
def test_a_project_cannot_lead_a_known_address_elsewhere(root: Path, option: str) -> None:
    """An option may name another host, to which the password of the user would be sent."""
    used = Known(Store.identity(SERVER), "postgresql+psycopg://ada:***@db.example.org/corpus", "")
    ours = places(root, known=[used])
    found = []
    for query in (option, "sslmode=require&connect_timeout=3"):
        (root / "project" / "pyproject.toml").write_text(f'[tool.durable_nb]\nurl = "{SERVER}?{query}"\n')
        found.append(ours.of_notebook("project/a.ipynb"))

    assert [] == found[0]
    assert [used.store] == [place.store for place in found[1]]


def test_settings_that_cannot_be_read_are_told_once(root: Path) -> None:
    """A broken pyproject.toml is an error where runs are listed, and hides no configured database."""
    (root / "project" / "pyproject.toml").write_text("[tool")
    ours = places(root, "project/.durable_nb/durable.db")
    (place,) = ours.configured()

    with pytest.raises(ConfigError, match="not valid TOML"):
        ours.of_notebook("project/a.ipynb")
    assert place == ours.find(place.store, "project/a.ipynb")


@pytest.mark.parametrize("how", ["trait", "environment"])
def test_what_the_server_was_started_with_may_be_anywhere(root: Path, how: str) -> None:
    """DurableServer.databases and DURABLE_NB_URL are trusted: outside of the root, and on the network."""
    outside = str(root.parent / "elsewhere" / ".durable_nb" / "durable.db")
    for url in (outside, f"sqlite:///{outside}", SERVER):
        ours = places(root, url) if how == "trait" else places(root, environ={"DURABLE_NB_URL": url})
        place = next(
            place
            for place in ours.of_notebook("a.ipynb")
            if place.store == Store.identity(url if "://" in url else f"sqlite:///{url}")
        )

        assert place == ours.find(place.store, "")


def test_what_kernels_noted_must_lie_below_the_root(root: Path) -> None:
    """A database that a notebook chose with configure() is found by that notebook and in its folder, if it is inside."""
    (root / "data").mkdir()
    (root / "data" / "x.db").touch()
    notebook = str(root / "project" / "a.ipynb")
    inside = Known("1", str(root / "data" / "x.db"), notebook)
    outside = Known("2", str(root.parent / "elsewhere" / ".durable_nb" / "durable.db"), notebook)
    ours = places(root, known=[inside, outside, Known("3", "relative.db", ""), Known("4", "", "")])

    assert ["project/.durable_nb/durable.db", "data/x.db"] == [
        place.where for place in ours.of_notebook("project/a.ipynb")
    ]
    assert ["data/x.db"] == [place.where for place in ours.of_folder("data")]
    assert ["project/.durable_nb/durable.db"] == [place.where for place in ours.of_folder("project")]
    assert {"data/x.db"} == {place.where for place in ours.of_folder("")}


def test_an_unknown_id_is_not_found(root: Path) -> None:
    """An id that belongs to a real database outside is as unknown as an invented one."""
    outside = Store.identity(f"sqlite:///{root.parent / 'elsewhere' / '.durable_nb' / 'durable.db'}")

    assert places(root).find(outside, "project/a.ipynb") is None
    assert places(root).find("../../etc", "project/a.ipynb") is None


def test_kernels_note_each_database_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry keeps what was noted, is private to the user, and survives lines that are not its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    entry = Known("0123456789ab", "/home/ada/Söhne\n.db", "/home/ada/a.ipynb")
    for _ in range(3):
        registry.remember(entry)
    file = tmp_path / "durable_nb" / "stores"
    with file.open("a") as lines:
        lines.write('no json\n[1, 2]\n{"a": 1}\n')
    registry.remember(entry._replace(notebook=""))

    assert [entry, entry._replace(notebook="")] == registry.known()
    assert 0o600 == file.stat().st_mode & 0o777


def test_the_registry_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more than a thousand databases the oldest are forgotten."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for n in range(1_100):
        registry.remember(Known(str(n), f"/{n}.db", ""))

    assert 500 <= len(registry.known()) <= 1_000
    assert "1099" == registry.known()[-1].store


def test_without_a_home_nothing_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state folder that cannot be written costs a run nothing."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    registry.remember(Known("1", "/1.db", ""))

    assert [] == registry.known()
