"""What counts as a credential, and what is left of a text without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from durable_nb import credentials
from durable_nb.credentials import Credentials, is_named, known_in

KEY = "sk-live-0123456789abcdef"


@pytest.mark.parametrize(
    "name",
    [
        "API_KEY",
        "api_key",
        "openaiKey",
        "token",
        "hf_token",
        "token_secret",
        "db_password",
        "DSN",
        "Authorization",
        "auth",
    ],
)
def test_names_that_say_credential(name: str) -> None:
    """By their words, whatever the style they are written in."""
    assert is_named(name)


@pytest.mark.parametrize(
    "name", ["keys", "tokens", "max_tokens", "tokenizer", "author", "monkey", "keyword", "docs", "_"]
)
def test_names_that_do_not(name: str) -> None:
    """A word counts as a whole, and what there are many of is data."""
    assert not is_named(name)


@pytest.mark.parametrize(
    "text",
    [
        "API_KEY = 'xyzzy-42'",
        "client = Client(api_key='xyzzy-42', url='https://api')",
        "def ask(q, *, token='xyzzy-42'):\n    return q",
        "headers = {'Authorization': f'Key xyzzy-42 {q}'}",
        "x['password'] = b'xyzzy-42'",
        "# the password: xyzzy-42",
        "%env API_KEY=xyzzy-42",
        "!curl -H token:xyzzy-42 {url}",
        "%time client = Client(api_key='xyzzy-42')",
        "engine = create_engine('postgresql://me:xyzzy-42@host/db')",
        "client = Client('xyzzy' '-42')",
        "key: str = 'xyzzy-42'",
        "print('xyzzy-42')",
    ],
)
def test_no_credential_is_left_in_code(text: str) -> None:
    """However it is written, in Python, in comments and in lines that are none."""
    redacted = Credentials(["xyzzy-42"]).redacted(text)

    assert "xyzzy" not in redacted and "42" not in redacted
    assert "***" in redacted


@pytest.mark.parametrize(
    "text",
    [
        "API_KEY = 'xyzzy-42'",
        "client = Client(api_key='xyzzy-42')",
        "%time client = Client(api_key='xyzzy-42')",
        f"client = Client({KEY!r})",
        "engine = create_engine('postgresql://me:xyzzy-42@host/db')",
        "client = Client('0123456789abcdef0123456789abcdef')",
    ],
)
def test_an_unknown_one_is_found_by_name_or_form(text: str) -> None:
    """Nobody has to have assigned it to a name first."""
    redacted = Credentials([]).redacted(text)

    assert "xyzzy" not in redacted and KEY not in redacted and "0123456789" not in redacted


@pytest.mark.parametrize(
    "text",
    [
        "vectors = [embed(doc) for doc in docs]  # as they come",
        "model = load('sentence-transformers/all-MiniLM-L6-v2', revision='main')",
        "KEY = os.environ['OPENAI_API_KEY']",
        "client = OpenAI(api_key=KEY, base_url='https://example.org/v1')",
        "max_tokens = 100\nkeys = ['a', 'b']",
        "sorted(docs, key=len)\nsorted(docs, key=lambda doc: doc['title'])",
        "embed.map(docs, key=by_name)",
        "url = 'https://example.org/a?b=c'",
        "df.sort_values(key='user_id_2')\nrows = group(docs, key='name')\nd = {'key': 'doc-17', 'token': 'word'}",
        "headers = {'Authorization': 'Bearer ' + api_key, 'X-Token': f'Token {token}'}",
    ],
)
def test_other_code_stays_as_it_is(text: str) -> None:
    """Names, addresses, models and expressions that read a credential from elsewhere say nothing."""
    assert text == Credentials([]).redacted(text)


def test_what_stands_in_the_environment_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable by its name, one of another name by its form, and the password inside of an address."""
    monkeypatch.setenv("SERVICE_TOKEN", "plainlookingvalue7")
    monkeypatch.setenv("SERVICE", KEY)
    monkeypatch.setenv("DATABASE", "postgresql://me:xyzzy-42@host/db")
    known = known_in()

    assert all(known.found_in(text) for text in ("a plainlookingvalue7", f"<{KEY}>", "is xyzzy-42 it"))
    assert not known.found_in("something else")


def test_a_place_is_no_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What every shell notes under PWD stands in each path below; so do a variable of that name and the path of a key."""
    (tmp_path / "key.json").touch()
    for name in ("PWD", "OLDPWD"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("DB_PASSWORD", f"{tmp_path}/hunter2")
    known = known_in({"pwd": str(tmp_path), "credentials": f"{tmp_path}/key.json"})

    assert f"{tmp_path}/docs/7.txt" == known.hidden_in(f"{tmp_path}/docs/7.txt")
    assert known.keeps(f"pwd = {str(tmp_path)!r}")
    assert "open('***')" == known.hidden_in(f"open('{tmp_path}/hunter2')")


def test_what_names_stand_for_is_known() -> None:
    """Texts, bytes and what is in collections of that name; a plain word is none."""
    known = known_in(
        {"api_key": "abc123xyz", "credentials": {"user": "me", "pass": "zyx-321-abc"}, "sort_key": "length"}
    )

    assert known.found_in_bytes(b"\x00abc123xyz\x01") and known.found_in_bytes("zyx-321-abc".encode("utf-32-le"))
    assert not known.found_in("the length of it")


def test_columns_count_bytes() -> None:
    """Text outside ASCII before a credential shifts nothing."""
    assert "é = '***'; ü = 'ä'" == Credentials(["xyzzy-42"]).redacted("é = 'xyzzy-42'; ü = 'ä'")
    assert credentials.INSTEAD == "***"


def test_what_is_told_of_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Known ones, forms, and what a line of code passes by name are hidden; other words stay."""
    monkeypatch.setenv("SERVICE_TOKEN", "plainlookingvalue7")
    told = known_in().hidden_in(
        f"AuthError: Incorrect API key: {KEY} (plainlookingvalue7)\n  client = Client(api_key='xyzzy-42', n=3)\nKeyError: 'token'"
    )

    assert "AuthError: Incorrect API key: *** (***)\n  client = Client(api_key='***', n=3)\nKeyError: 'token'" == told


@pytest.mark.parametrize("word", ["ACGT", "a-b.", "a=b", "eyJ", "key=", "x "])
def test_a_long_word_is_looked_through_once(word: str) -> None:
    """An error may quote a sequence of a million letters; what looks again from each letter on needs hours for it."""
    text = word * 200_000

    assert known_in().hidden_in(text) == text


def test_what_is_passed_by_a_flag_is_hidden() -> None:
    """A name begins behind the dashes."""
    assert known_in().hidden_in("--api-key='hunter2hunter2'") == "--api-key='***'"


def test_a_text_that_is_nested_too_deeply_is_no_python() -> None:
    """It is looked through as a text."""
    assert Credentials([KEY]).redacted("-" * 100_000 + KEY).endswith("***")
    assert Credentials([KEY]).redacted("a=b" * 60_000 + KEY).endswith("***")
