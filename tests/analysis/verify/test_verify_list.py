"""The list: each route and each refusal has a request or a reason, and nothing that is not on it can be sent."""

from __future__ import annotations

import json
import re
import socket

import pytest
import requests
import verifying
from hypothesis import given, settings
from hypothesis import strategies as st

from obo_kit.analysis.verify import _agent
from obo_kit.analysis.verify._obo import OBO_PROBES, on_or_off
from obo_kit.analysis.verify._plan import Named, listed, narrow_scopes
from obo_kit.analysis.verify._probe import ABSENT, ABSENT_ID, SAFE, Probe, get, post
from obo_kit.analysis.verify._refusals import REFUSAL_PROBES, UNSAFE_REFUSALS
from obo_kit.analysis.verify._routes import ROUTE_PROBES, UNSAFE_ROUTES, claim_of
from obo_kit.analysis.verify._transport import OffListError, Sender, _ListedOnly
from obo_kit.scopes import ROUTES, route_for
from obo_kit.scopes._recording import Answer
from obo_kit.testing._refusals import REFUSALS

ALL = [*listed(verifying.NAMED), *(probe.of("main.docs.pages") for probe in _agent._READS.values())]


def test_each_route_has_a_request_or_a_reason():
    claims = {claim_of(route.methods, route.path) for route in ROUTES}
    assert claims == ROUTE_PROBES.keys() | UNSAFE_ROUTES.keys()
    assert not ROUTE_PROBES.keys() & UNSAFE_ROUTES.keys()
    assert len(claims) >= 137
    assert all(reason.endswith(".") for reason in UNSAFE_ROUTES.values())
    assert len(UNSAFE_ROUTES) == 5  # a route that only changing requests reach


@pytest.mark.parametrize("claim", ROUTE_PROBES)
def test_a_request_is_of_the_route_that_it_asks_for(claim):
    probe = ROUTE_PROBES[claim]
    route = route_for(probe.method, probe.target.partition("?")[0])
    assert route is not None
    assert claim_of(route.methods, route.path) == claim


def test_each_refusal_has_a_request_or_a_reason():
    assert verifying.KIT is not None
    assert REFUSALS.keys() == REFUSAL_PROBES.keys() | UNSAFE_REFUSALS.keys()
    assert not REFUSAL_PROBES.keys() & UNSAFE_REFUSALS.keys()
    for provoked in REFUSAL_PROBES.values():
        assert bool(provoked.probe) != bool(provoked.route)
        assert not provoked.route or f"route:{provoked.route}" in ROUTE_PROBES


@pytest.mark.parametrize("probe", ALL, ids=lambda probe: f"{probe.method} {probe.target}")
def test_a_request_of_the_list_changes_nothing(probe):
    assert probe.method in ("GET", "POST")
    assert probe.safe in SAFE
    if probe.method == "GET":
        assert not probe.body
        return
    body = probe.body.decode()
    absent = ABSENT in probe.target + body or ABSENT_ID in probe.target + body
    only_lists = "tools/list" in body
    match probe.safe:
        case "absent":
            assert absent
        case "reads":
            assert only_lists
        case "unreadable":
            with pytest.raises(ValueError, match="Expecting"):
                json.loads(body)
        case "incomplete":
            assert json.loads(body) == {}
        case "refused":
            assert absent
            assert probe.token == "none"
        case "statement":
            statement = json.loads(body)["statement"]
            assert statement.startswith("SELECT")
            assert not re.search(r"\b(?:INSERT|UPDATE|DELETE|CREATE|DROP|MERGE|CALL|;)\b", statement)
        case other:
            pytest.fail(other)


def test_a_recording_can_name_each_request_and_claim():
    claims = [*ROUTE_PROBES, *UNSAFE_ROUTES, *(f"refusal:{key}" for key in REFUSALS)]
    for claim in claims:
        Answer(claim=claim, request="GET /api", case="allowed", status=200, form="json")
    for probe in ALL:
        Answer(claim="obo:apps", request=probe.request, case="allowed", status=200, form="json")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Probe(method="DELETE", path="/api", safe="reads"),
        lambda: Probe(method="GET", path="/api", safe="absent"),
        lambda: Probe(method="GET", path="/api", safe="reads", content="{}"),
        lambda: get("/api/{warehouse}"),
    ],
)
def test_a_request_that_cannot_be_safe_is_no_probe(make):
    with pytest.raises(ValueError):
        make()


@given(name=st.text(min_size=1, max_size=30))
@settings(max_examples=100)
def test_a_name_stays_a_part_of_the_path(name):
    probe = get("/api/2.0/genie/spaces/{name}").of(name)
    assert probe.target.startswith("/api/2.0/genie/spaces/")
    assert not set("?#/ ") & set(probe.target.removeprefix("/api/2.0/genie/spaces/"))
    statement = post("/x", {"warehouse_id": "{name}"}, "statement").of(name)
    assert json.loads(statement.body)["warehouse_id"] == name


# ---------------------------------------------------------------- nothing else goes out


@pytest.fixture
def nobody(monkeypatch):
    """No connection is opened: whoever tries fails the test."""

    def fail(*_args, **_more):
        pytest.fail("a connection was opened")

    monkeypatch.setattr(socket, "create_connection", fail)
    monkeypatch.setattr(socket.socket, "connect", fail)


LISTED = [get("/api/2.0/apps", query={"page_size": "1"}), post("/api/2.0/sql/statements", {}, "incomplete")]


@pytest.mark.parametrize(
    ("method", "url", "body"),
    [
        ("DELETE", "https://w.example/api/2.0/apps?page_size=1", None),
        ("PUT", "https://w.example/api/2.0/apps?page_size=1", None),
        ("POST", "https://w.example/api/2.0/apps?page_size=1", None),
        ("GET", "https://w.example/api/2.0/apps", None),
        ("GET", "https://w.example/api/2.0/apps?page_size=2", None),
        ("GET", "https://w.example/api/2.0/apps/a?page_size=1", None),
        ("GET", "https://other.example/api/2.0/apps?page_size=1", None),
        ("GET", "http://w.example/api/2.0/apps?page_size=1", None),
        ("GET", "https://w.example:8443/api/2.0/apps?page_size=1", None),
        ("GET", "https://w.example/api/2.0/apps?page_size=1", b"x"),
        ("POST", "https://w.example/api/2.0/sql/statements", b'{"statement": "DROP TABLE t"}'),
        ("POST", "https://w.example/oidc/v1/token", b"grant_type=client_credentials&scope=sql"),
        (
            "POST",
            "https://w.example/oidc/v1/token",
            b"grant_type=urn:ietf:params:oauth:grant-type:token-exchange&scope=all-apis",
        ),
    ],
)
@pytest.mark.usefixtures("nobody")
def test_the_transport_lets_nothing_else_out(method, url, body):
    session = requests.Session()
    session.mount("https://", _ListedOnly("https://w.example", LISTED, [("sql",)]))
    session.mount("http://", _ListedOnly("https://w.example", LISTED, [("sql",)]))
    with pytest.raises(OffListError):
        session.request(method, url, data=body)


@pytest.mark.usefixtures("nobody")
def test_a_sender_sends_only_its_list():
    sender = Sender("https://w.example", LISTED)
    with pytest.raises(OffListError):
        sender.send(get("/api/2.0/clusters/list"), None)
    assert sender.exchange is not None
    with pytest.raises(OffListError):
        sender.exchange({"grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "scope": "sql"})


def test_what_the_developer_names_is_on_the_list_and_nothing_like_it():
    nothing = Named(denied={}, use={})
    named = {probe.target for probe in listed(verifying.NAMED)} - {probe.target for probe in listed(nothing)}
    assert all("{name}" not in probe.target for probe in listed(nothing))
    assert "/api/2.0/sql/warehouses/w-hidden" in named
    assert not any("w-hidden" in probe.target for probe in listed(nothing))


def test_redirects_cookies_and_passwords_of_this_machine_are_left_alone(tmp_path, monkeypatch):
    with verifying.workspace() as workspace:
        workspace.add_fault("login_redirect", path_prefix="/api/2.0/apps", times=1)
        (tmp_path / ".netrc").write_text("machine 127.0.0.1\nlogin alice\npassword secret\n")
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        login, _, _ = verifying.tokens()
        sender = Sender(workspace.host, list(OBO_PROBES["apps"].values()), rate=1000)
        redirected = sender.send(OBO_PROBES["apps"]["apps"], login.token.header())
        allowed = sender.send(OBO_PROBES["apps"]["apps"], login.token.header())
        sender.close()
        records = workspace.log.filter(path="/api/2.0/apps")
        assert redirected.status == 302
        assert allowed.status == 200
        assert not workspace.log.filter(path="/login.html")
        assert all(record.user == "alice" and not record.cookies for record in records)


def test_exchanges_are_for_the_catalogues_scopes():
    sets = narrow_scopes()
    assert sets[:2] == (("sql",), ("genie",))
    assert len(set(sets)) == len(sets)
    assert ("all-apis",) not in sets
    assert ("model-serving",) in sets


# ---------------------------------------------------------------- on or off


def _apps(*apps):
    return json.dumps(
        {"apps": [{"user_api_scopes": wanted, "effective_user_api_scopes": told} for wanted, told in apps]}
    ).encode()


def _allowed(*scopes):
    return json.dumps({"effective_allowed_apps_user_api_scopes": {"allowed_scopes": scopes}}).encode()


def _preview(value):
    return json.dumps({"effective_boolean_val": {"value": value}}).encode()


@pytest.mark.parametrize(
    ("bodies", "state"),
    [
        ({}, "unknown"),
        ({"apps": b"<html>", "allowed": b"["}, "unknown"),
        ({"apps": _apps()}, "unknown"),
        ({"apps": _apps(([], []))}, "unknown"),
        ({"apps": _apps((["sql"], ["sql", "iam.current-user:read"]))}, "on"),
        ({"apps": _apps((["sql"], ["iam.current-user:read"]))}, "off"),
        ({"apps": _apps((["sql"], []), (["genie"], ["genie"]))}, "on"),
        ({"allowed": _allowed()}, "off"),
        ({"allowed": _allowed("*")}, "on"),
        ({"allowed": _allowed("*"), "apps": _apps((["sql"], []))}, "off"),
        ({"enable_obo_user_apps": _preview(True)}, "on"),
        ({"enable_obo_user_apps": _preview(False)}, "off"),
        ({"enable_obo_user_apps": _preview(False), "allowed": _allowed("*")}, "off"),
        ({"enable_obo_user_apps": _preview(False), "apps": _apps((["sql"], ["sql"]))}, "on"),
        ({"enable_obo_user_apps": b'{"effective_boolean_val": {}}'}, "unknown"),
        ({"agents_obo": _preview(False)}, "unknown"),
    ],
)
def test_whether_tokens_reach_apps(bodies, state):
    assert on_or_off(bodies, "apps")[0] == state


@pytest.mark.parametrize(
    ("body", "state"),
    [
        (None, "unknown"),
        (b"{}", "unknown"),
        (b"{", "unknown"),
        (b'{"effective_boolean_val": {"value": "yes"}}', "unknown"),
        (b'{"effective_boolean_val": {"value": true}}', "on"),
        (b'{"effective_boolean_val": {"value": false}}', "off"),
    ],
)
def test_whether_tokens_reach_models(body, state):
    told, why = on_or_off({"agents_obo": body} if body is not None else {}, "model-serving")
    assert told == state
    assert ("Previews" in why) == (state == "unknown")
