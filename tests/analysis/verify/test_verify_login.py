"""Who asks: a login of the developer's own, tokens that may do less, and never a token in a message."""

from __future__ import annotations

import os
import pickle

import pytest
import verifying

from obo_kit.analysis.verify._login import Login, Token, _cloud, expired_token, narrow_token, sign_in, whose
from obo_kit.exceptions import NoUserIdentityError, PolicyError, UnknownScopeError


@pytest.fixture(scope="module")
def running():
    with verifying.workspace() as workspace:
        names = [name for name in os.environ if name.startswith(("DATABRICKS_", "OBO_TEST_"))]
        yield workspace, {name: os.environ[name] for name in names}


@pytest.fixture
def signed_in(running, monkeypatch):
    workspace, environment = running
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return workspace, sign_in()


@pytest.mark.parametrize(
    ("host", "cloud"),
    [
        ("https://adb-1.7.azuredatabricks.net", "azure"),
        ("https://dbc-1.cloud.databricks.com", "aws"),
        ("https://1.7.gcp.databricks.com", "gcp"),
        ("http://127.0.0.1:8080", "local"),
        ("http://localhost:8080", "local"),
        ("https://databricks.example.com", "unknown"),
        ("https://azuredatabricks.net.example.com", "unknown"),
    ],
)
def test_the_address_tells_the_cloud(host, cloud):
    assert _cloud(host) == cloud


def test_a_login_says_what_its_token_carries_and_not_the_token(signed_in):
    workspace, login = signed_in
    assert login.host == workspace.host
    assert login.cloud == "local"
    assert login.token.scopes == {"all-apis"}
    secret = os.environ["DATABRICKS_TOKEN"]
    assert secret not in repr(login) + repr(login.token) + str(login)
    assert login.token.header() == f"Bearer {secret}"
    with pytest.raises((pickle.PicklingError, TypeError)):
        pickle.dumps(login)


@pytest.mark.parametrize(
    "settings",
    [{"profile": "nobody"}, {"host": "https://dbc-1.cloud.databricks.com"}],
)
def test_without_a_login_it_says_how_to_get_one(signed_in, settings, monkeypatch):
    monkeypatch.delenv("DATABRICKS_TOKEN")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NoUserIdentityError, match="databricks auth login"):
        sign_in(**settings)


def test_a_token_with_fewer_scopes(signed_in):
    _, login = signed_in
    token = narrow_token("genie=env:OBO_TEST_GENIE", login)
    assert (token.label, token.scopes) == ("genie", {"genie"})
    assert token.header() == f"Bearer {os.environ['OBO_TEST_GENIE']}"


def test_a_personal_access_token_is_taken_at_its_owners_word(signed_in, monkeypatch):
    _, login = signed_in
    monkeypatch.setenv("NARROW", "dapi0123456789abcdef")
    assert narrow_token("sql, genie=env:NARROW", login).scopes == {"sql", "genie"}


def test_a_profile_is_a_source_too(signed_in, monkeypatch, tmp_path):
    workspace, login = signed_in
    path = tmp_path / "databrickscfg"
    path.write_text(
        f"[narrow]\nhost = {workspace.host}\ntoken = {os.environ['OBO_TEST_SQL']}\n"
        "[other]\nhost = http://127.0.0.1:1\ntoken = dapi0123456789abcdef\n"
    )
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(path))
    for name in ("DATABRICKS_HOST", "DATABRICKS_TOKEN"):
        monkeypatch.delenv(name)
    assert narrow_token("sql=narrow", login).scopes == {"sql"}
    with pytest.raises(NoUserIdentityError, match="another workspace"):
        narrow_token("sql=other", login)


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("genie", PolicyError, "SCOPES=SOURCE"),
        ("=env:X", PolicyError, "SCOPES=SOURCE"),
        ("genie=", PolicyError, "SCOPES=SOURCE"),
        ("geenie=env:OBO_TEST_GENIE", UnknownScopeError, "geenie"),
        ("sql=env:OBO_TEST_GENIE", PolicyError, "genie"),
        ("genie=env:NOBODY_SET_THIS", NoUserIdentityError, "empty"),
    ],
)
def test_a_token_that_is_not_what_it_is_said_to_be(signed_in, text, error, says):
    _, login = signed_in
    with pytest.raises(error, match=says) as refused:
        narrow_token(text, login)
    assert os.environ["OBO_TEST_GENIE"] not in str(refused.value)


def test_a_token_in_the_place_of_a_source_is_not_repeated(signed_in):
    """Somebody passes the token itself: it is no profile's name, and is not shown."""
    _, login = signed_in
    secret = "dapi" + "7" * 80
    with pytest.raises(NoUserIdentityError) as refused:
        narrow_token(f"sql={secret}", login)
    assert secret not in str(refused.value)


def test_an_expired_token(signed_in):
    _, login = signed_in
    assert expired_token("env:OBO_TEST_EXPIRED", login).label == "expired"


def _login(auth_type):
    token = Token(label="yours", scopes=None, header=lambda: "")
    return Login(host="", cloud="unknown", token=token, auth_type=auth_type)


@pytest.mark.parametrize(
    ("me", "auth_type", "who"),
    [
        ({"userName": "a@x.y", "emails": [{"value": "a@x.y"}]}, "pat", "user"),
        ({"userName": "a@x.y"}, "databricks-cli", "user"),
        ({"userName": "a@x.y"}, "oauth-m2m", "service_principal"),
        ({"userName": "3f25", "applicationId": "3f25"}, "pat", "service_principal"),
        ({"userName": "3f25"}, "pat", "service_principal"),
        ({}, "pat", "unknown"),
        (None, "pat", "unknown"),
    ],
)
def test_whose_answers_these_are(me, auth_type, who):
    assert whose(me, _login(auth_type)) == who
