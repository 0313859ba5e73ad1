"""The routes of a real server over real databases: who may ask, what is answered, and errors as sentences."""

from __future__ import annotations

import json
import shutil
import sqlite3
import struct
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import make_url

from durable_nb.wire import MIME
from tests.kernels import ROOT, Kernel, wait_until
from tests.server.conftest import HOSTILE, LOAD, STEPS
from tests.server.servers import Server

if TYPE_CHECKING:
    from pathlib import Path

NOTEBOOK = "project/a.ipynb"
READING = ["status", "runs", "run", "output", "mosaic", "document", "failures"]
WRITING = ["control", "choose", "forget"]


def group(server: Server, notebook: str = NOTEBOOK) -> dict[str, Any]:
    """The only database of a notebook."""
    (one,) = server.get("runs", notebook=notebook).json["stores"]
    return one


@pytest.fixture
def at(server: Server, project: Kernel) -> dict[str, str]:
    """The query that names the project's database and notebook."""
    return {"store": group(server)["store"], "notebook": NOTEBOOK}


@pytest.mark.parametrize("route", READING)
def test_nothing_is_read_without_the_token(server: Server, route: str) -> None:
    """Who did not log in gets 403, whatever is asked, and no fact."""
    answer = server.ask(route)

    assert 403 == answer.status
    assert {"message", "hint"} == set(answer.json)


@pytest.mark.parametrize("route", WRITING)
def test_nothing_is_written_without_token_or_xsrf(server: Server, route: str) -> None:
    """A page of another site, which has the browser's cookie but not the XSRF token, can press no button."""
    browser, xsrf = server.logged_in()
    blocked = server.ask(route, body={"store": "x", "name": "y"}, opener=browser)
    known = server.ask(route, body={"store": "x", "name": "y"}, opener=browser, headers={"X-XSRFToken": xsrf})

    assert 403 == server.ask(route, body={}).status
    assert 403 == blocked.status
    assert 404 == known.status


def test_status_names_the_schema(server: Server) -> None:
    """A page can tell that server and kernel have different versions."""
    status = server.get("status").json

    assert {"version", "schema"} == set(status)
    assert status["schema"] >= 2


def test_runs_of_a_notebook_and_of_its_folder(server: Server, project: Kernel) -> None:
    """The database beside the notebook with its runs, newest first, for the notebook and for the folder."""
    found = group(server)
    (of_folder,) = server.get("runs", folder="project").json["stores"]
    (of_root,) = server.get("runs", folder="").json["stores"]

    assert ("project/.durable_nb/durable.db", "") == (found["where"], found["error"])
    assert ["hostile", "done"] == [run["name"] for run in found["runs"]][:2]
    assert found["store"] == of_folder["store"] == of_root["store"]
    hostile, done = found["runs"][:2]
    assert ("done", 50, 50, 0) == (done["state"], done["total"], done["computed"], done["failed"])
    assert 70 == hostile["failed"]
    assert "failures" not in done and "groups" not in done
    assert done["created"] <= done["updated"]
    assert NOTEBOOK == done["notebook"]


def test_a_folder_without_runs_has_none(server: Server, root: Path) -> None:
    """Neither an empty folder nor one that does not exist is an error."""
    (root / "empty").mkdir(exist_ok=True)

    assert {"stores": []} == server.get("runs", notebook="empty/a.ipynb").json
    assert {"stores": []} == server.get("runs", folder="gone/deeper").json


def test_one_run_in_full(server: Server, at: dict[str, str]) -> None:
    """Snapshot, history and versions of a run."""
    run = server.get("run", name="done", **at).json

    assert {"snapshot", "history", "versions"} == set(run)
    assert ("done", 50, at["store"]) == (run["snapshot"]["state"], run["snapshot"]["durable"], run["snapshot"]["store"])
    assert ["started", "done"] == [event["kind"] for event in run["history"]]
    assert [("embed", 50, True)] == [(one["name"], one["saved"], one["current"]) for one in run["versions"]]


def test_what_a_notebook_keeps_of_a_run(server: Server, at: dict[str, str]) -> None:
    """The output that a dead kernel could not leave is the one that a live kernel does: picture, text and our MIME type,
    without a path of this machine, tracebacks or words that are obeyed."""
    done, hostile = (server.get("output", name=name, **at).json for name in ("done", "hostile"))

    assert {MIME, "text/html", "text/plain"} == set(done) == set(hostile)
    assert "data:image/png" in done["text/html"] and "50 / 50 (100%)" in done["text/html"]
    assert done["text/plain"].startswith("done: done  50 / 50 (100%)")
    assert (at["store"], "done") == (done[MIME]["store"], done[MIME]["snapshot"]["state"])
    assert "" == hostile[MIME]["snapshot"]["notebook"]
    assert {""} == {failure["traceback"] for failure in hostile[MIME]["snapshot"]["failures"]}
    assert HOSTILE not in hostile["text/html"] and "70 failed" in hostile["text/html"]


def test_hostile_names_come_back_as_data(server: Server, at: dict[str, str]) -> None:
    """HTML, escape sequences and right-to-left marks in labels and errors are JSON text, unchanged."""
    snapshot = server.get("run", name="hostile", **at).json["snapshot"]

    assert f"ValueError: {HOSTILE}" == snapshot["failures"][0]["error"]
    assert HOSTILE in snapshot["failures"][0]["label"]
    assert [{"error": f"ValueError: {HOSTILE}", "count": 70}] == snapshot["groups"]
    assert 50 == len(snapshot["failures"])


def test_failures_come_in_pages(server: Server, at: dict[str, str]) -> None:
    """All failures can be read, a page at a time, with how many there are."""
    pages = [server.get("failures", name="hostile", offset=offset, limit=40, **at).json for offset in (0, 40, 80)]

    assert [40, 30, 0] == [len(page["failures"]) for page in pages]
    assert {70} == {page["failed"] for page in pages}
    assert list(range(70)) == [failure["position"] for page in pages for failure in page["failures"]]


def test_mosaic_once_then_nothing(server: Server, at: dict[str, str]) -> None:
    """All states at first; 204 while the page has them."""
    whole = server.get("mosaic", name="done", **at)
    kind, version, count = struct.unpack_from("<BII", whole.body)

    assert (0, 50) == (kind, count)
    assert bytes([2] * 50) == whole.body[9:]
    assert (204, b"") == server.get("mosaic", name="done", since=version, **at)


def test_one_document(server: Server, at: dict[str, str]) -> None:
    """Whoever points at a square learns its label, state and error, or that nothing is known of it yet."""
    good, bad = (server.get("document", name=name, position=7, **at) for name in ("done", "hostile"))

    assert ("done", 1, "") == (good.json["state"], good.json["attempts"], good.json["error"])
    assert "page 7" in good.json["label"]
    assert "failed" == bad.json["state"]
    assert bad.json["error"].startswith(f"ValueError: {HOSTILE}")
    assert (200, None) == ((answer := server.get("document", name="done", position=1_000, **at)).status, answer.json)


@pytest.mark.parametrize(
    ("route", "query", "status"),
    [
        ("run", {"name": "nowhere"}, 404),
        ("run", {"name": "done", "store": "000000000000"}, 404),
        ("run", {"name": "done", "store": "../../etc/passwd"}, 404),
        ("run", {"name": "done", "notebook": "../a.ipynb"}, 400),
        ("run", {"name": "done", "notebook": "/etc/a.ipynb"}, 400),
        ("run", {"name": "'; DROP TABLE runs; --"}, 404),
        ("run", {"name": ""}, 404),
        ("run", {}, 400),
        ("runs", {"notebook": "project/../../a.ipynb"}, 400),
        ("mosaic", {"name": "done", "since": "x"}, 400),
        ("document", {"name": "done", "position": "1e9"}, 400),
        ("document", {"name": "done", "position": str(10**30)}, 400),
        ("failures", {"name": "done", "limit": "1000000"}, 400),
        ("failures", {"name": "done", "offset": "-1"}, 400),
    ],
)
def test_what_cannot_be_answered_is_said(
    server: Server, at: dict[str, str], route: str, query: dict[str, str], status: int
) -> None:
    """An unknown store, run or document and an impossible question are answered with a sentence, not a traceback."""
    answer = server.get(route, **at | query)

    assert (status, {"message", "hint"}) == (answer.status, set(answer.json))
    assert answer.json["message"].endswith((".", ")."))
    assert "Traceback" not in answer.json["message"]


@pytest.mark.parametrize(
    ("route", "body", "status"),
    [
        ("control", {"name": "done", "action": "pause"}, 409),
        ("control", {"name": "nowhere", "action": "pause"}, 404),
        ("control", {"name": ["done"], "action": "pause"}, 400),
        ("choose", {"name": "done", "step": 1, "older": 99, "choice": "keep"}, 404),
        ("choose", {"name": "done", "step": {}, "older": [[]], "choice": "keep"}, 404),
        ("forget", {"name": "nowhere"}, 404),
    ],
)
def test_what_cannot_be_done_is_said(
    server: Server, at: dict[str, str], route: str, body: dict[str, Any], status: int
) -> None:
    """A button of a run that is over, or of none, changes nothing and says why."""
    answer = server.post(route, **at | body)

    assert (status, {"message", "hint"}) == (answer.status, set(answer.json))


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"x"', b"null", b"\xff"])
def test_a_body_that_is_no_object_is_refused(server: Server, body: bytes) -> None:
    """Whatever is posted, the answer is a sentence."""
    _, headers = None, {"Authorization": "token a-token-of-the-tests"}
    answer = server.ask("control", body=body, headers=headers)

    assert (400, "the body of the request is no JSON object.") == (answer.status, answer.json["message"])


def test_a_locked_database_is_read_or_told(server: Server, root: Path, project: Kernel) -> None:
    """While another process writes, runs are read; one that lets nobody in is told in a sentence, without a 500."""
    folder = root / "locked"
    shutil.copytree(project.folder / ".durable_nb", folder / ".durable_nb")
    path = folder / ".durable_nb" / "durable.db"
    at = {"store": group(server, "locked/a.ipynb")["store"], "notebook": "locked/a.ipynb", "name": "done"}
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        during = server.get("run", **at)
        forget = server.post("forget", **at)
        other.execute("ROLLBACK")
        other.execute("PRAGMA locking_mode=EXCLUSIVE")

    assert 200 == during.status
    assert 503 == forget.status
    assert "locked" in forget.json["message"]


@pytest.mark.parametrize("damage", ["newer", "garbage", "foreign"])
def test_a_database_that_cannot_be_shown_hides_no_other(
    server: Server, root: Path, project: Kernel, tmp_path: Path, damage: str
) -> None:
    """A newer schema, a file that is no database and one of another program are told in the list, and asked for: 503."""
    folder = root / damage
    path = folder / ".durable_nb" / "durable.db"
    path.parent.mkdir(parents=True)
    if damage == "garbage":
        path.write_bytes(b"not a database at all" * 1_000)
    else:
        source = project.folder / ".durable_nb" / "durable.db"
        with closing(sqlite3.connect(source)) as read, closing(sqlite3.connect(path)) as written:
            if damage == "newer":
                read.backup(written)
                written.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
            else:
                written.execute("CREATE TABLE things (id INTEGER)")
            written.commit()
    answer = server.get("runs", notebook=f"{damage}/a.ipynb")
    (found,) = answer.json["stores"]
    asked = server.get("run", store=found["store"], name="done", notebook=f"{damage}/a.ipynb")

    assert (200, []) == (answer.status, found["runs"])
    assert found["error"].endswith((".", "…)"))
    assert 503 == asked.status
    assert asked.json["message"]


def test_settings_that_cannot_be_read_are_told(server: Server, root: Path) -> None:
    """A broken pyproject.toml is a line in the list, not an error of the page."""
    (root / "broken").mkdir(exist_ok=True)
    (root / "broken" / "pyproject.toml").write_text("[tool")
    (found,) = server.get("runs", notebook="broken/a.ipynb").json["stores"]

    assert "not valid TOML" in found["error"]


def test_a_run_is_forgotten_once_it_is_over(server: Server, root: Path, project: Kernel) -> None:
    """Forget drops the results of one run; those of the others stay."""
    project.ok("%%durable forgotten\nresults = embed.map(['a', 'b'])")
    at = {"store": group(server)["store"], "notebook": NOTEBOOK, "name": "forgotten"}

    assert {"dropped": 2} == server.post("forget", **at).json
    assert 404 == server.get("run", **at).status
    assert 200 == server.get("run", **at | {"name": "done"}).status


def test_older_results_are_chosen(server: Server, project: Kernel) -> None:
    """What Recompute asks for is what the cell does when it is run next."""
    project.ok("@step\ndef edited(doc): return 1")
    project.ok("%%durable choosing\nedited.map(['a', 'b'])")
    project.ok("@step\ndef edited(doc): return 2")
    project.ok("%%durable choosing --on-change keep\nedited.map(['a', 'b', 'c'])")
    at = {"store": group(server)["store"], "notebook": NOTEBOOK, "name": "choosing"}
    versions = server.get("run", **at).json["versions"]
    step = next(version["id"] for version in versions if version["current"])
    older = next(version["id"] for version in versions if not version["current"])
    answer = server.post("choose", step=step, older=older, choice="recompute", **at)

    assert 200 == answer.status
    assert "[2, 2, 2]" == project.ok("%%durable choosing\nlist(edited.map(['a', 'b', 'c']))").result


def test_a_database_elsewhere_is_found_by_its_notebook(server: Server, root: Path, project: Kernel) -> None:
    """A run kept with --db in another folder below the root is listed beside the notebook's own; one outside is not."""
    project.ok("%%durable elsewhere --db ../data/other.db\nresults = embed.map(['a'])")
    outside = root.parent / "outside.db"
    project.ok(f"%%durable outside --db {outside}\nresults = embed.map(['a'])")
    stores = server.get("runs", notebook=NOTEBOOK).json["stores"]

    assert ["project/.durable_nb/durable.db", "data/other.db"] == [store["where"] for store in stores]
    assert ["elsewhere"] == [run["name"] for run in stores[1]["runs"]]
    at = {"store": stores[1]["store"], "notebook": NOTEBOOK, "name": "elsewhere"}
    assert "done" == server.get("run", **at).json["snapshot"]["state"]
    assert ["data/other.db"] == [store["where"] for store in server.get("runs", folder="data").json["stores"]]
    with closing(sqlite3.connect(root / "data" / "other.db")):
        (root / "data" / "other.db").unlink()
    project.ok("from durable_nb.engine.session import current as _s\n_s.close()")


def test_configured_databases_are_shown_everywhere(root: Path, state: str, project: Kernel, tmp_path: Path) -> None:
    """DurableServer.databases opens a database outside of the root, for every notebook, and kernels know the server."""
    outside = tmp_path / "outside" / "shared.db"
    project.ok(f"%%durable shared --db {outside}\nresults = embed.map(['a'])")
    server = Server(root, f"--DurableServer.databases={outside}", XDG_STATE_HOME=state)
    try:
        stores = server.get("runs", notebook="nowhere/a.ipynb").json["stores"]
        at = {"store": stores[0]["store"], "notebook": "", "name": "shared"}

        assert [str(outside)] == [store["where"] for store in stores]
        assert "done" == server.get("run", **at).json["snapshot"]["state"]
    finally:
        server.close()
    assert "Traceback" not in server.log.read_text()
    project.ok("from durable_nb.engine.session import current as _s\n_s.close()")


@pytest.mark.parametrize("how", ["environment", "used before"])
def test_a_database_on_a_server_is_shown(root: Path, state: str, tmp_path: Path, postgres: str, how: str) -> None:
    """Runs on PostgreSQL are read and forgotten as those in a file: set for the server, or by a project that was run here.

    No answer and no line of the log holds the password.
    """
    url = make_url(postgres).set(password="not-to-be-seen").render_as_string(hide_password=False)
    folder = root / how.replace(" ", "-")
    folder.mkdir()
    if how == "used before":
        (folder / "pyproject.toml").write_text(f'[tool.durable_nb]\nurl = "{url}"\n')
    setting = {"DURABLE_NB_URL": url} if how == "environment" else {}
    server = Server(root, XDG_STATE_HOME=state, **setting)
    try:
        notebook = f"{folder.name}/a.ipynb"
        before = server.get("runs", notebook=notebook).json["stores"]
        with Kernel(folder, XDG_STATE_HOME=state, JPY_SESSION_NAME=str(folder / "a.ipynb"), **setting) as one:
            one.ok(LOAD)
            one.ok(STEPS)
            one.ok("%%durable remote\nresults = embed.map(['a', 'b', 'c'])")
        wait_until(lambda: server.get("runs", notebook=notebook).json["stores"][:1] != before, describing="it is found")
        wait_until(lambda: bool(group(server, notebook)["runs"]), describing="it can be read", timeout=20)
        found = group(server, notebook)
        at = {"store": found["store"], "notebook": notebook, "name": "remote"}
        run, mosaic = server.get("run", **at), server.get("mosaic", **at)

        assert (how == "used before") == (before == [])
        assert ("done", 3) == (run.json["snapshot"]["state"], run.json["snapshot"]["durable"])
        assert bytes([2, 2, 2]) == mosaic.body[9:]
        assert {"dropped": 3} == server.post("forget", **at).json
        assert "***" in found["where"]
        assert "not-to-be-seen" not in json.dumps(found) + run.body.decode() + server.log.read_text()
    finally:
        server.close()


def test_importing_the_extension_is_cheap() -> None:
    """A server lists its extensions without loading a database library, and never loads IPython or widgets for us."""
    heavy = ("IPython", "ipywidgets", "anywidget", "sqlalchemy", "jupyter_server")
    script = (
        f"import sys, durable_nb.server\nfirst = [name for name in {heavy} if name in sys.modules]\n"
        "durable_nb.server._jupyter_server_extension_points()\n"
        f"print([first, [name for name in {heavy[:3]} if name in sys.modules]])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )

    assert "[[], []]" == done.stdout.strip()


def test_a_page_that_polls_keeps_no_idle_server_alive(server: Server) -> None:
    """Our routes do not count as activity, so that a hub still ends servers that nobody uses."""
    import urllib.request

    def last_activity() -> str:
        request = urllib.request.Request(
            f"{server.url}api/status?no_track_activity=1", headers={"Authorization": "token a-token-of-the-tests"}
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            return str(json.loads(reply.read())["last_activity"])

    before = last_activity()
    server.get("runs", notebook=NOTEBOOK)

    assert before == last_activity()
