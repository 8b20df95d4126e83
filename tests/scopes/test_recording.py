"""A recording holds shapes: no token, host, id, mail or name of anybody's, whatever a workspace answers."""

from __future__ import annotations

import hashlib
import json
import re
import string
import subprocess
import sys
from typing import get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import obo_kit.testing.workspace  # noqa: F401  each service declares its refusals
from obo_kit._upstream.texts import TEXTS
from obo_kit.scopes import SCOPES
from obo_kit.scopes._data.words import WORDS
from obo_kit.scopes._placeholders import (
    _COMPOUND,
    _PRIVILEGES,
    _SCOPE_WORDS,
    code_of,
    is_placed,
    is_scope,
    placeholders,
    scopes_in,
)
from obo_kit.scopes._recording import CASES, Answer, Case, Recording, RecordingError, Release, digest_of, dump, load
from obo_kit.testing._refusals import REFUSALS

_PLACEHOLDER = re.compile(r"<(?:name|id|host|mail|number|scope:([a-z0-9.:\-]+))>")
_LETTERS = string.ascii_letters + string.digits + "._-"

# Words that are nobody's, wherever they may stand.
_ORDINARY = {*_SCOPE_WORDS, *_COMPOUND, *_PRIVILEGES, *SCOPES}

# What must not survive: tokens, hosts, ids, mails, names as people give them.
_tokens = st.one_of(
    st.text("0123456789abcdef", min_size=32, max_size=32).map("dapi{}".format),
    st.text(string.ascii_letters + string.digits + "-_", min_size=20, max_size=60).map("eyJ{}.eyJ.x".format),
)
_words = st.text(string.ascii_lowercase, min_size=3, max_size=12).filter(lambda word: word not in _ORDINARY)
_names = st.one_of(
    _words,
    _words.map(str.capitalize),
    st.tuples(_words, _words, _words).map(".".join),
    st.tuples(_words, _words).map("_".join),
    st.tuples(_words, _words).map(" ".join),
    st.tuples(_words, st.sampled_from(sorted(WORDS))).map("-".join),
    st.tuples(_words, st.integers(0, 9999)).map(lambda parts: f"{parts[0]}{parts[1]}"),
    st.text("äöüßéñλжд漢字", min_size=3, max_size=8),
)
_hosts = st.one_of(
    _words.map("https://{}.cloud.databricks.com/x".format),
    _words.map("adb-1234567890123.7.{}.net".format),
    st.integers(0, 255).map("10.20.30.{}".format),
)
_mails = st.tuples(_words, _words).map(lambda parts: f"{parts[0]}@{parts[1]}.com")
_ids = st.one_of(
    st.uuids().map(str), st.integers(10**5, 10**16).map(str), st.integers(0, 2**128 - 1).map("{:032x}".format)
)
_secrets = st.one_of(_tokens, _names, _hosts, _mails, _ids)
_carriers = st.sampled_from(
    [refusal.text for refusal in REFUSALS.values()]
    + [
        "{x}",
        "'{x}'",
        "[{x}]",
        "({x})",
        "[ReqId: {x}]",
        "scopes: {x}",
        "scope {x}",
        "<{x}>",
        "<scope:{x}>",
        "`{x}`.`{x}`",
        "{x}'s",
    ]
    + [
        "scopes: sql, {x} and genie",
        "SQLSTATE: {x}",
        "x={x}&y={x}",
        "a/{x}/b",
        '"{x}',
        "{x}:{x}",
        "\u202e{x}",
        "User {x}{x}",
    ]
)


class _Filled(dict):
    def __init__(self, secret):
        super().__init__()
        self.secret = secret

    def __missing__(self, key):
        return self.secret


def _parts_that_tell(secret):
    """The pieces of a secret that are longer than two characters and no ordinary words."""
    return [part for part in re.split(r"[^\w]+|_", secret) if len(part) > 2 and part.lower() not in _ORDINARY]


@given(carrier=_carriers, secret=_secrets, ahead=_secrets, seen=st.booleans())
@settings(max_examples=400)
@example(carrier="scopes: {x}", secret="zzz.sql", ahead="y", seen=False)
@example(carrier="SQLSTATE: {x}", secret="eyJ00-00000000000000000.eyJ.x", ahead="y", seen=False)
@example(carrier="User {x} may", secret="Grant", ahead="y", seen=True)
def test_nothing_of_a_workspace_survives(carrier, secret, ahead, seen):
    text = f"{ahead} {carrier.format_map(_Filled(secret))} {secret}"
    placed = placeholders(text, seen=[secret] if seen else [])
    left = _PLACEHOLDER.sub(lambda found: found[1] or "", placed)
    for part in _parts_that_tell(secret) + _parts_that_tell(ahead):
        assert not re.search(rf"(?<!\w){re.escape(part)}(?!\w)", left), (text, placed)
    assert secret not in left
    assert is_placed(placed), (placed, placeholders(placed))
    for scope in scopes_in(placed):
        assert is_scope(scope)


@given(text=st.text(max_size=300), seen=st.lists(st.text(min_size=1, max_size=20), max_size=3))
@settings(max_examples=400)
def test_a_text_of_any_kind_becomes_words_of_the_list_and_placeholders(text, seen):
    placed = placeholders(text, seen)
    assert is_placed(placed)
    for word in re.findall(r"\w+", _PLACEHOLDER.sub(" ", placed)):
        pieces = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", word) or [word]
        assert (
            word.lower() in WORDS
            or all(piece.lower() in WORDS for piece in pieces)
            or re.fullmatch(r"0|t|s|[0-9A-Z]{5}|read|don|doesn", word)
        ), (text, placed, word)


@pytest.mark.parametrize("key", sorted(REFUSALS))
def test_what_a_refusal_says_stays_readable(key):
    refusal = REFUSALS[key]
    placed = placeholders(refusal.text.format_map(_Filled("sales_x")))
    fixed = re.sub(r"\{[^}]*\}", " ", refusal.text)
    ordinary = [
        word for word in re.findall(r"(?<![\w'\"/.\-])[A-Za-z]+(?![\w'\"/.\-])", fixed) if word.lower() in WORDS
    ]
    kept = re.findall(r"[A-Za-z]+", placed)
    assert sum(word in kept for word in ordinary) >= 0.9 * len(ordinary), placed
    assert refusal.code == "" or code_of(refusal.code) == str(refusal.code)


def test_scopes_stay_and_names_do_not():
    words = (
        "Provided OAuth token does not have required scopes: genie, catalog.tables:read, sales.new [ReqId: 3f2504e0-4f]"
    )
    assert placeholders(words) == (
        "Provided OAuth token does not have required scopes: <scope:genie>, <scope:catalog.tables:read>, <name> [ReqId: <id>]"
    )
    assert scopes_in(placeholders(words)) == ("genie", "catalog.tables:read")
    assert all(map(is_scope, SCOPES))
    # A scope that is newer than the catalogue, made of words that are nobody's.
    assert scopes_in(placeholders("required scopes: genie.messages:write")) == ("genie.messages:write",)


@pytest.mark.parametrize("text", [text for text in TEXTS if text.reason is not None], ids=lambda text: text.name)
def test_a_known_text_is_still_known_by_its_words(text):
    """What `explain` tells apart by its text, it tells apart with placeholders in it, filled as a name would be."""
    placed = placeholders(text.sample)
    filled = _PLACEHOLDER.sub(lambda found: found[1] or "x1", placed.replace("<host>", "https://host.example/explore"))
    if text.name not in {"ip_access_list"}:
        assert text.pattern.search(filled), placed


# ---------------------------------------------------------------- the file


def _answer(**changes):
    return Answer(
        **{
            "claim": "route:GET /api/2.0/serving-endpoints",
            "request": "GET /api/2.0/serving-endpoints",
            "case": "missing_scope",
            "scopes": ("sql",),
            "status": 403,
            "content_type": "application/json",
            "headers": ("content-type",),
            "form": "json",
            "code": "403",
            "wording": "Invalid scope, required scopes: <scope:model-serving>",
            "required_scopes": ("model-serving",),
            **changes,
        }
    )


def _recording(**changes):
    return Recording(**{"recorded": "2026-12-01", "kit": "0.1.0", "answers": (_answer(),), **changes})


def test_a_recording_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "recording.json"
    later = _answer(claim="refusal:warehouse_missing", case="absent", scopes=None)
    written = dump(_recording(answers=(later, _answer())), path)
    assert load(path) == written
    assert [answer.claim for answer in written.answers] == [
        "refusal:warehouse_missing",
        "route:GET /api/2.0/serving-endpoints",
    ]
    assert written.for_claim("refusal:warehouse_missing") == (later,)
    data = json.loads(path.read_text())
    assert data["schema"] == 1
    assert data["digest"] == digest_of(written)
    assert [file.name for file in tmp_path.iterdir()] == ["recording.json"]


def test_the_order_of_the_answers_does_not_count(tmp_path):
    one, other = _answer(), _answer(case="absent")
    assert _recording(answers=(one, other)).signed() == _recording(answers=(other, one)).signed()


def _written(tmp_path, change):
    path = tmp_path / "recording.json"
    dump(_recording(), path)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data.update(schema=2), "is of schema 2; this kit reads schema 1"),
        (lambda data: data.pop("schema"), "not a recording"),
        (lambda data: data.update(schema=True), "is of schema True"),
        (lambda data: data.update(obo="on"), "its digest differs"),
        (lambda data: data.update(recorded="yesterday"), "recorded"),
        (lambda data: data.update(kit="0.1.0+acme"), "kit"),
        (lambda data: data.update(host="adb-1.azuredatabricks.net"), "host"),
        (
            lambda data: data["answers"][0].update(wording="Endpoint sales_x does not exist"),
            "not replaced by placeholders",
        ),
        (lambda data: data["answers"][0].update(headers=["x-secret"]), "not recorded"),
        (lambda data: data["answers"][0].update(code="SALES_TEAM"), "not an error code"),
        (lambda data: data["answers"][0].update(claim="route:GET /api/?token=x"), "not a claim"),
        (lambda data: data["answers"][0].update(request="DELETE /api"), "not a request"),
        (lambda data: data["answers"][0].update(scopes=["zzz"]), "not a scope"),
        (lambda data: data["answers"][0].update(content_type="application/sales"), "content_type"),
        (lambda data: data["answers"][0].update(status="403"), "status"),
    ],
)
def test_a_file_that_is_no_recording_is_refused(tmp_path, change, says):
    with pytest.raises(RecordingError, match=says) as refused:
        load(_written(tmp_path, change))
    assert "sales_x" not in str(refused.value)
    assert "recording.json" in str(refused.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"{", "not JSON"), (b"[]", "not a recording"), (b"[" * 10**5, "not JSON"), (b" " * (4 * 2**20 + 1), "larger")],
)
def test_a_file_of_another_kind_is_refused(tmp_path, content, says):
    path = tmp_path / "recording.json"
    path.write_bytes(content)
    with pytest.raises(RecordingError, match=says):
        load(path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(RecordingError, match="cannot be read"):
        load(tmp_path / "none.json")
    with pytest.raises(RecordingError, match="cannot be written"):
        dump(_recording(), tmp_path / "none" / "recording.json")


def test_what_was_written_stays_where_the_next_cannot_be(tmp_path, monkeypatch):
    path = tmp_path / "recording.json"
    before = dump(_recording(), path)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(RecordingError, match="No space left"):
        dump(_recording(obo="on"), path)
    assert load(path) == before
    assert [file.name for file in tmp_path.iterdir()] == ["recording.json"]


def test_an_unclean_recording_is_not_written(tmp_path):
    unclean = _recording().model_copy(update={"release": Release.model_construct(runtime="sales_x")})
    with pytest.raises(RecordingError):
        dump(unclean, tmp_path / "recording.json")
    assert not list(tmp_path.iterdir())


def test_each_case_is_described():
    assert set(CASES) == set(get_args(Case))


def test_the_package_does_not_load_pydantic_for_it():
    code = "import sys, obo_kit, obo_kit.scopes; obo_kit.scopes.catalogue(); assert 'pydantic' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_recording_that_lacks_a_field_of_a_later_version_is_read(tmp_path):
    path = tmp_path / "recording.json"
    dump(Recording(recorded="2026-12-01", kit="0.1.0"), path)
    data = json.loads(path.read_text())
    for name in ("obo_model_serving", "digest"):
        del data[name]
    written = json.dumps(data, sort_keys=True, separators=(",", ":"))
    path.write_text(json.dumps(data | {"digest": f"sha256:{hashlib.sha256(written.encode()).hexdigest()}"}))
    assert load(path).obo_model_serving == "unknown"


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        ("the USER_DATA_ACCESS group", "the <name> group"),
        ("PERMISSION_DENIED: User lacks USE_CATALOG", "PERMISSION_DENIED: User lacks USE_CATALOG"),
        ("User Grant May does not have access", "User <name> does not have access"),
        ("Grant CAN USE on Table Page", "Grant CAN USE on Table <name>"),
        ("SQLSTATE: QZJXV", "SQLSTATE: <name>"),
        ("SQLSTATE: 42P01", "SQLSTATE: 42P01"),
        ("users/data/file is absent", "<name> is absent"),
        ("read/write", "read/write"),
    ],
)
def test_names_that_consist_of_ordinary_words(words, kept):
    assert placeholders(words) == kept
