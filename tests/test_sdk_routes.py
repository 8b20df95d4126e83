"""What the SDK's source says that its methods send, against what they do send."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from requests.adapters import BaseAdapter

from obo_kit.audit import RequestScopes, SdkRequest, methods, requests_of, scopes_for
from obo_kit.scopes import SCOPES, route_for
from obo_kit.scopes._products import PERMISSIONS, PRODUCTS

GRPC = {"sandbox.connect_command", "sandbox.execute_command"}
HOST = "https://workspace.test"


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
    """The end of the wire: notes what arrives, and answers that there is nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str]] = []

    def send(self, request, **_options):
        if len(self.seen) > 5:
            raise EnoughError
        self.seen.append((request.method, request.url.removeprefix(HOST).partition("?")[0]))
        answer = requests.Response()
        answer.status_code = 200
        answer.request = request
        answer.url = request.url
        answer.headers["content-type"] = "application/json"
        answer._content = b"{}"
        return answer

    def close(self) -> None: ...


class Anything:
    """An argument of a type that does not matter: it goes into the body."""

    value = "x"
    name = "projects/x"

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

    def ToJsonString(self) -> str:  # noqa: N802 - the name in the SDK's FieldMask
        return "x"


def argument(parameter: inspect.Parameter) -> object:
    kind = str(parameter.annotation)
    if parameter.name == "timeout":
        return timedelta(milliseconds=2)
    if "int" in kind and "str" not in kind:
        return 1
    if "List" in kind or "list" in kind:
        return []
    if "BinaryIO" in kind:
        import io

        return io.BytesIO(b"x")
    return "x" if "str" in kind or parameter.annotation is inspect.Parameter.empty else Anything()


def call(method) -> None:
    given = {
        name: argument(parameter)
        for name, parameter in inspect.signature(method).parameters.items()
        if name == "timeout"
        or (parameter.default is inspect.Parameter.empty and parameter.kind not in {parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL})
    }
    result = method(**given)
    if isinstance(result, Iterator):
        list(result)


def services(owner: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    """The public methods that Python finds, by the names that code reaches them with."""
    for name in dir(type(owner)):
        if name.startswith("_") or (not prefix and name in {"api_client", "config", "dbutils"}):
            continue
        if callable(getattr(type(owner), name)):
            yield f"{prefix}{name}", getattr(owner, name)
        else:
            yield from services(getattr(owner, name), f"{prefix}{name}.")


@pytest.fixture(scope="module")
def driven() -> dict[str, list[tuple[str, str]]]:
    """Every method called once, and what arrived."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", lambda _seconds: None)
        recorder = Recorder()
        patch.setattr(requests.Session, "get_adapter", lambda _session, url: recorder)
        config = Config(host=HOST, token="t", disable_experimental_files_api_client=True)
        client = WorkspaceClient(config=config)
        seen = {}
        for name, method in services(client):
            recorder.seen.clear()
            try:
                if name not in GRPC:
                    call(method)
            except Exception:  # noqa: BLE001, S110 - an empty answer does not do for all, and comes too late to matter
                pass
            seen[name] = list(dict.fromkeys(recorder.seen))
        return seen


def fits(sent: tuple[str, str], request: SdkRequest) -> bool:
    pattern = "".join(".*" if part == "{}" else re.escape(part) for part in re.split(r"(\{\})", request.path))
    return sent[0] == request.method and re.fullmatch(pattern, sent[1]) is not None


def test_the_names_are_those_that_python_finds(driven, derived):
    assert set(driven) == {name for name in derived if name.partition(".")[0] not in {"api_client", "config", "dbutils"}}


def test_nothing_is_sent_that_was_not_derived(driven, derived):
    stray = {
        name: (sent, derived[name])
        for name, seen in driven.items()
        for sent in seen
        if not any(fits(sent, request) for request in derived[name])
    }
    assert stray == {}


def test_what_was_derived_is_sent(driven, derived):
    idle = {name for name, seen in driven.items() if not seen}
    missed = {
        (name, request)
        for name, seen in driven.items()
        for request in derived[name]
        if name not in idle and not any(fits(sent, request) for sent in seen)
    }
    print(len(idle), sorted(idle)); print(len(missed), sorted(missed, key=str))
    assert len(idle) < 0.05 * len(driven)
