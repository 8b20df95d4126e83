"""What the SDK's source says that its methods send, against what they do send."""

from __future__ import annotations

import contextlib
import datetime
import inspect
import io
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.service.serving import ChatMessage, ChatMessageRole, ExternalFunctionRequestHttpMethod
from requests.adapters import BaseAdapter
from support import INDEX, LLM, PROBE, SPACE, calls

from obo_kit import analysis
from obo_kit.analysis import SdkRequest, methods, requests_of, scopes_for
from obo_kit.analysis.sdk._resolver import Method, Package, Reader, Scope, text_of
from obo_kit.scopes import Verdict, route_for, route_verdict, same_family
from obo_kit.scopes._data.products import COUNTED, PERMISSIONS, PRODUCTS

SDK = tuple(int(part) for part in version("databricks-sdk").split(".")[:2])
HOST = "https://workspace.test"
# Not services: what they send, the caller decides.
PLUMBING = {"api_client", "config", "dbutils"}
# Sent over gRPC, and by a client of another library.
NOT_REST = {
    "sandbox.connect_command",
    "sandbox.execute_command",
    "serving_endpoints.get_langchain_chat_open_ai_client",
    "serving_endpoints.get_open_ai_client",
}
SERVICES = {"aisearch", "apps", "catalog", "serving", "sql", "vectorsearch"}


@pytest.fixture(scope="module")
def derived() -> Mapping[str, tuple[SdkRequest, ...]]:
    return methods()


def written(name: str) -> list[str]:
    found = requests_of(name)
    assert found is not None
    return [f"{request.method} {request.path}" for request in found]


# ---------------------------------------------------------------- the whole SDK, driven


class EnoughError(Exception):
    """A method waits for something that never comes."""


class Recorder(BaseAdapter):
    """The end of the wire, instead of a workspace with a thousand services: notes what arrives, and answers one thing."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str]] = []

    def send(self, request, **_options):
        if len(self.seen) > 8:
            raise EnoughError
        self.seen.append((request.method, request.url.removeprefix(HOST).partition("?")[0]))
        answer = requests.Response()
        answer.status_code = 200
        answer.request = request
        answer.url = request.url
        answer.headers["content-type"] = "application/json"
        ids = ("id", "name", "message_id", "conversation_id", "deployment_id", "cluster_id", "experiment_id")
        answer._content = json.dumps({**dict.fromkeys(ids, "x"), "run_id": 1}).encode()
        answer.raw = io.BytesIO(answer._content)
        return answer

    def close(self) -> None: ...


class Anything:
    """An argument of some type: only what is in the body depends on it."""

    value = "x"

    def as_dict(self) -> dict[str, str]:
        return {}

    def __getattr__(self, name: str) -> Anything:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything()

    def __call__(self, *_args: object) -> Anything:
        return self

    def __str__(self) -> str:
        return "x"


def argument(parameter: inspect.Parameter) -> object:
    kind = str(parameter.annotation)
    if parameter.name == "timeout":
        return datetime.timedelta(milliseconds=5)
    if "BinaryIO" in kind:
        return io.BytesIO(b"x")
    if "List" in kind or "list" in kind:
        return []
    if "int" in kind and "str" not in kind:
        return 1
    return "x" if "str" in kind or parameter.annotation is inspect.Parameter.empty else Anything()


def call(method) -> None:
    given = {
        name: argument(parameter)
        for name, parameter in inspect.signature(method).parameters.items()
        if name == "timeout"
        or (
            parameter.default is parameter.empty
            and parameter.kind not in {parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL}
        )
    }
    result = method(**given)
    if isinstance(result, Iterator):
        list(result)


def services(owner: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """The public methods that Python finds, by the names that code reaches them with."""
    for name in dir(type(owner)):
        if name.startswith("_") or (not prefix and name in PLUMBING):
            continue
        if callable(getattr(type(owner), name)):
            yield f"{prefix}{name}", getattr(owner, name)
        else:
            yield from services(getattr(owner, name), f"{prefix}{name}.")


def service_of(method) -> str:
    """The module of the SDK that a method's class comes from, mixins left aside."""
    modules = [cls.__module__ for cls in type(method.__self__).__mro__]
    return next((name.rpartition(".")[2] for name in modules if ".service." in name), "")


@pytest.fixture(scope="module")
def driven() -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """Every method called once: its service, and what arrived."""
    recorder = Recorder()
    seen = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", lambda _seconds: None)
        patch.setattr(requests.Session, "get_adapter", lambda _session, url: recorder)
        client = WorkspaceClient(config=Config(host=HOST, token="t", disable_experimental_files_api_client=True))
        for name, method in services(client):
            recorder.seen.clear()
            if name not in NOT_REST:
                # An answer that does not fit comes too late to matter.
                with contextlib.suppress(Exception):
                    call(method)
            seen[name] = (service_of(method), list(dict.fromkeys(recorder.seen)))
    return seen


def fits(sent: tuple[str, str], request: SdkRequest) -> bool:
    pattern = "".join(".*" if part == "{}" else re.escape(part) for part in re.split(r"(\{\})", request.path))
    return request.method in {sent[0], "{}"} and re.fullmatch(pattern, sent[1]) is not None


def test_the_methods_are_those_that_python_finds(driven, derived):
    assert set(driven) == {name for name in derived if name.partition(".")[0] not in PLUMBING}


def test_nothing_is_sent_that_was_not_derived(driven, derived):
    stray = [
        (name, sent)
        for name, (_, seen) in driven.items()
        for sent in seen
        if not any(fits(sent, request) for request in derived[name])
    ]
    assert stray == []


def test_nearly_all_methods_were_made_to_send(driven):
    idle = {name for name, (_, seen) in driven.items() if not seen} - NOT_REST
    assert len(idle) < 0.05 * len(driven), idle


def test_what_was_derived_is_sent(driven, derived):
    # A file system that depends on the answers, second pages, and an address that the server names.
    by_answer = {"clusters", "dbfs", "files", "jobs", "serving_endpoints_data_plane"}
    missed = [
        (name, request)
        for name, (_, seen) in driven.items()
        for request in derived[name]
        if seen and name.partition(".")[0] not in by_answer and not any(fits(sent, request) for sent in seen)
    ]
    assert missed == []


def test_a_derived_request_has_the_route_of_the_real_one(driven, derived):
    differ = [
        (name, sent)
        for name, (service, seen) in driven.items()
        for sent in seen
        if service in SERVICES | {"dashboards"}
        and not any(
            _scopes(route_for(*sent)) == _scopes(route_for(request.method, request.path))
            for request in derived[name]
            if fits(sent, request)
        )
    ]
    assert differ == []


def _scopes(route) -> object:
    return route and (route.any_of, route.all_of)


# ---------------------------------------------------------------- measures


def test_every_method_of_a_service_resolves_to_a_request(driven, derived):
    assert {name for name in driven if not derived[name]} == set()
    for requests_sent in derived.values():
        for request in requests_sent:
            assert re.fullmatch(r"[A-Z]+|\{\}", request.method), request
            assert re.fullmatch(r"\{\}|/[^ ?]+", request.path), request


def test_95_percent_of_the_methods_of_the_resources_services_resolve_to_scopes(driven):
    wanted = [name for name, (service, _) in driven.items() if service in SERVICES or name.startswith("genie.")]
    known = [name for name in wanted if all(need.any_of or need.all_of for need in scopes_for(name))]
    assert len(wanted) > 250
    assert len(known) >= 0.95 * len(wanted), set(wanted) - set(known)


@pytest.mark.skipif(SDK < (0, 156), reason="some products came later")
def test_no_path_of_a_product_is_a_slip_of_the_pen(derived):
    sent = {request.path for found in derived.values() for request in found}
    for path in PRODUCTS:
        assert any(f"{one}/".startswith(f"{path}/") for one in sent), path
    objects = {path.split("/")[4] for path in sent if path.startswith("/api/2.0/permissions/")}
    # Objects that only `permissions.get(type, id)` names, in its documentation.
    unnamed = {
        "alertsv2",
        "dashboards",
        "dbsql-dashboards",
        "directories",
        "files",
        "genie",
        "notebooks",
        "queries",
        "sql",
    }
    assert {path.split("/")[1] for path in PERMISSIONS if path} <= objects | unnamed


def test_a_scope_that_is_said_to_be_counted_is_one_of_a_product():
    assert {scope for scopes in (*PRODUCTS.values(), *PERMISSIONS.values()) for scope in scopes[:1]} >= COUNTED


# ---------------------------------------------------------------- against the local workspace


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("current_user.me", ()),
        ("genie.list_spaces", ()),
        ("genie.get_space", (SPACE,)),
        ("genie.start_conversation_and_wait", (SPACE, "How many tickets are there?")),
        ("warehouses.list", ()),
        ("warehouses.get", ("wh1",)),
        ("statement_execution.execute_statement", ("SELECT 1", "wh1")),
        ("serving_endpoints.list", ()),
        ("serving_endpoints.get", (LLM,)),
        ("serving_endpoints.query", (LLM,)),
        ("serving_endpoints.http_request", ("crm", ExternalFunctionRequestHttpMethod.GET, "/")),
        ("vector_search_indexes.get_index", (INDEX,)),
        ("vector_search_indexes.query_index", (INDEX, ["id"])),
        ("vector_search_indexes.list_indexes", ("local-vs",)),
        ("vector_search_endpoints.list_endpoints", ()),
        ("tables.get", ("main.support.tickets",)),
        ("functions.list", ("main", "support")),
        ("connections.list", ()),
        ("catalogs.list", ()),
        ("schemas.list", ("main",)),
    ],
)
def test_the_workspace_sees_what_was_derived(workspace, name, arguments):
    token = workspace.token("alice", scopes=["all-apis"])
    config = Config(host=workspace.host, token=token, auth_type="pat", retry_timeout_seconds=2)
    method = WorkspaceClient(config=config)
    for part in name.split("."):
        method = getattr(method, part)
    more = {
        "serving_endpoints.query": {"messages": [ChatMessage(role=ChatMessageRole.USER, content="hello")]},
        "vector_search_indexes.query_index": {"query_text": "refund"},
    }
    workspace.log.clear()
    with contextlib.suppress(Exception):  # that the workspace has it, is not the point here
        result = method(*arguments, **more.get(name, {}))
        list(result) if isinstance(result, Iterator) else None
    seen = {(record.method, record.path): record for record in calls(workspace) if record.path != PROBE}
    assert seen
    needs = scopes_for(name)
    for sent, record in seen.items():
        (need,) = [need for need in needs if fits(sent, need.request)]
        derived_scopes = need.all_of or need.any_of[:1]
        assert len(record.scopes_needed) == len(derived_scopes)
        assert all(map(same_family, record.scopes_needed, derived_scopes))  # in whatever spelling
    assert all(any(fits(sent, need.request) for sent in seen) for need in needs)


# ---------------------------------------------------------------- what is followed


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("genie.start_conversation", ["POST /api/2.0/genie/spaces/{}/start-conversation"]),
        (
            "genie.start_conversation_and_wait",
            [
                "POST /api/2.0/genie/spaces/{}/start-conversation",
                "GET /api/2.0/genie/spaces/{}/conversations/{}/messages/{}",
            ],
        ),
        ("workspace.list", ["GET /api/2.0/workspace/list"]),  # a mixin that calls its base
        ("workspace.upload", ["POST /api/2.0/workspace/import"]),
        ("jobs.list", ["GET /api/2.2/jobs/list", "GET /api/2.2/jobs/get"]),
        ("clusters.select_node_type", ["GET /api/2.1/clusters/list-node-types"]),
        ("serving_endpoints_data_plane.query", ["GET /api/2.0/serving-endpoints/{}", "POST {}"]),
        ("serving_endpoints.http_request", ["POST /api/2.0/external-function"]),
        ("serving_endpoints.get_open_ai_client", ["{} /serving-endpoints/{}"]),
        ("settings.default_namespace.get", ["GET /api/2.0/settings/types/default_namespace_ws/names/default"]),
        ("get_workspace_id", ["GET /api/2.0/preview/scim/v2/Me"]),
        ("dbutils.secrets.get", ["GET /api/2.0/secrets/get"]),
        ("api_client.do", ["{} {}"]),
        ("config.authenticate", []),
    ],
)
def test_a_method_is_followed_through_the_sdk(name, expected):
    assert written(name) == expected


def test_what_runs_on_a_cluster_is_found_behind_dbutils():
    assert "POST /api/1.2/commands/execute" in written("dbutils.fs.mount")
    assert written("dbutils.notebook.run") == written("dbutils.fs.mount")


def test_a_copy_reaches_both_file_systems():
    assert {"GET /api/2.0/dbfs/read", "POST /api/2.0/dbfs/add-block", "PUT /api/2.0/fs/files{}"} <= {
        *written("dbfs.copy")
    }


@pytest.mark.parametrize(
    "name", ["", "genie", "genie.", "genie.nothing", "nothing.get", "genie.get_space.more", "config.host"]
)
def test_what_is_no_method_is_none(name):
    assert requests_of(name) is None
    assert scopes_for(name) is None


# ---------------------------------------------------------------- scopes


@pytest.mark.parametrize(
    ("name", "scope"),
    [
        ("genie.start_conversation_and_wait", "genie"),
        ("statement_execution.execute_statement", "sql"),
        ("serving_endpoints.query", "model-serving"),
        ("vector_search_indexes.query_index", "vector-search"),
        ("tables.get", "catalog.tables:read"),
        ("connections.list", "unity-catalog"),
        ("apps.create_and_wait", "apps"),
        ("warehouses.get_permissions", "sql"),
        ("lakeview.list", "dashboards"),
        ("shares.list_shares", "sharing"),
        ("dbutils.secrets.get", "secrets"),
    ],
)
def test_one_scope_opens_all_that_a_method_sends(name, scope):
    needs = scopes_for(name)
    assert needs
    for need in needs:
        assert scope in need.any_of
        assert need.all_of == ()
        assert need.route.sources
        assert route_verdict(need.route, {scope}) == (Verdict.GRANTED, ())


def test_a_call_through_a_connection_needs_two_scopes():
    (need,) = scopes_for("serving_endpoints.http_request")
    assert need.any_of == ()
    assert need.all_of == ("catalog.connections", "serving.serving-endpoints")


def test_of_what_the_catalogue_does_not_know_no_scope_is_known():
    (need,) = scopes_for("api_client.do")
    assert (need.route, need.any_of, need.all_of) == (None, (), ())


# ---------------------------------------------------------------- the reader


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of one's own making: `package("source")` gives its module."""
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "made_up"
    folder.mkdir()

    def make(source: str, **others: str) -> object:
        for name, text in {"__init__": source, **others}.items():
            (folder / f"{name}.py").write_text(text)
        return Package("made_up").module("made_up")

    return make


def returned(module, name: str) -> set[str]:
    """What a function returns, by the names of the classes."""
    method = module.get(name)
    assert isinstance(method, Method)
    scope = Scope(method.function)
    return {value.cls.node.name for expr in method.function.returned for value in Reader().values(expr, scope)}


def test_a_name_is_followed_through_imports(package):
    module = package(
        "from .one import *\nfrom . import two as second\nimport made_up.two as third\nimport json\n"
        "from .gone import Gone\nfrom elsewhere import Other\n"
        "def a(): return One()\ndef b(): return second.Two()\ndef c(): return third.Two()\n"
        "def d(): return Gone() or Other() or json.Encoder() or second.Nothing()\n",
        one="class One: ...\n",
        two="class Two: ...\n",
    )
    assert [returned(module, name) for name in "abcd"] == [{"One"}, {"Two"}, {"Two"}, set()]


def test_what_is_defined_by_way_of_itself_ends(package):
    module = package(
        "class One: ...\nclass Two: ...\n"
        "def a(x):\n    while x:\n        y = y if x else One()\n        z = y\n        y = z or Two()\n    return z\n"
        "def b(): return b() or One()\n"
        "from . import same\nfrom .same import name\n",
        same="from .same import name\n",
    )
    assert returned(module, "a") == {"One", "Two"}
    assert returned(module, "b") == {"One"}
    assert module.get("name") is None


def test_data_is_not_followed(package):
    module = package("@dataclass\nclass Data: ...\nclass Other: ...\ndef a(): return Data() or [Other()]\n")
    assert returned(module, "a") == {"Other"}


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("'/a'", "/a"),
        ("f'/a/{x}/{y}{z}/b'", "/a/{}/{}/b"),
        ("'/a/' + x + '/b'", "/a/{}/b"),
        ("once", "/once"),
        ("f'{once}/b'", "/once/b"),
        ("twice", "{}"),
        ("7", "{}"),
        ("x % 'a'", "{}"),
    ],
)
def test_a_text_keeps_what_the_source_says(package, expression, text):
    module = package(f"def a(x):\n    once = '/once'\n    twice = '/1'\n    twice = '/2'\n    return {expression}\n")
    function = module.get("a").function
    assert text_of(function.returned[0], Scope(function)) == text


def test_a_package_that_is_not_there_is_named():
    with pytest.raises(ModuleNotFoundError, match=r"No source of json\.decoder is installed"):
        Package("json.decoder")


def test_an_sdk_without_the_client_is_refused(monkeypatch):
    monkeypatch.setattr(
        analysis.sdk._methods, "Package", lambda _name: type("Empty", (), {"module": lambda _self, _name: None})()
    )
    with pytest.raises(ModuleNotFoundError, match="has no WorkspaceClient"):
        analysis.sdk._methods._Sdk()


# ---------------------------------------------------------------- cost


def test_neither_the_sdk_nor_mlflow_is_imported_for_an_answer():
    code = """if True:
        import sys
        from obo_kit.analysis import requests_of
        assert requests_of("genie.get_space")
        print([name for name in sys.modules if name.startswith(("databricks.sdk", "mlflow"))])
    """
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_only_the_classes_asked_for_are_parsed(monkeypatch):
    monkeypatch.setattr(analysis.sdk._methods, "_sdk", analysis.sdk._methods._sdk.__wrapped__)
    parsed = []
    parse = analysis.sdk._resolver.ast.parse
    monkeypatch.setattr(analysis.sdk._resolver.ast, "parse", lambda text: parsed.append(len(text)) or parse(text))
    assert requests_of("genie.get_space")
    assert sum(parsed) < 300_000  # of seven million


def test_an_answer_is_kept(monkeypatch):
    first = requests_of("genie.get_space")
    monkeypatch.setattr(analysis.sdk._resolver.Reader, "attribute", None)
    assert requests_of("genie.get_space") is first
