"""Read the REST requests of every method of the SDK's ``WorkspaceClient`` from its source."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from threading import RLock
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from obo_kit.analysis.sdk._resolver import (
    UNKNOWN,
    Class,
    Instance,
    Method,
    Package,
    Reader,
    Scope,
    arguments,
    find,
    text_of,
)
from obo_kit.scopes._lookup import route_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from obo_kit.analysis.sdk._resolver import Value
    from obo_kit.scopes._lookup import Route

# Methods that choose their requests by objects made at run time, and methods that send the same (databricks-sdk 0.162).
_SENT_AS: Final = {"files.upload_from": "files.upload"}

__all__ = ["RequestScopes", "SdkRequest", "methods", "requests_of", "scopes_for"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SdkRequest:
    """A request that a method sends.

    Attributes:
        method: The HTTP method in upper case, or ``"{}"`` if the source does not tell.
        path: The path on the workspace's host, with ``{}`` for each part that is known only at run time. Such a part may
            hold several segments. ``"{}"`` alone is an address that the caller or the server names, or a call that is
            not REST (gRPC).
    """

    method: str
    path: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RequestScopes:
    """A request, and what the catalogue knows about it.

    Attributes:
        request: The request.
        route: The part of the REST API that it belongs to, with its scopes and their source; ``None`` if the catalogue
            does not know it, so that its scopes are not known either.
    """

    request: SdkRequest
    route: Route | None

    @property
    def any_of(self) -> tuple[str, ...]:
        """Return the scopes of which one is enough. Ask for the first."""
        return self.route.any_of if self.route else ()

    @property
    def all_of(self) -> tuple[str, ...]:
        """Return the scopes that are all needed."""
        return self.route.all_of if self.route else ()


def requests_of(name: str) -> tuple[SdkRequest, ...] | None:
    """Return the requests that a method of ``WorkspaceClient`` may send, in the order of the source.

    They are read from the installed databricks-sdk without importing it, and kept for the life of the process. Methods that
    call others are followed within the SDK. A method that builds a client of another library for the workspace, such as
    ``serving_endpoints.get_open_ai_client``, has that client's base address with any method. Requests to other hosts
    (presigned addresses of cloud storage, token exchange) do not count.

    Args:
        name: The method as code reaches it from a client: ``"genie.start_conversation_and_wait"``,
            ``"settings.default_namespace.get"``, ``"get_workspace_id"``.

    Returns:
        The requests, without duplicates; ``()`` if the method sends nothing itself; ``None`` if the installed SDK has no
        such method.

    Raises:
        ModuleNotFoundError: databricks-sdk is not installed, or not as source files.
    """
    with _LOCK:
        return _sdk().requests_of(name)


def methods() -> Mapping[str, tuple[SdkRequest, ...]]:
    """Return every public method of the installed ``WorkspaceClient``, with its requests, by the names of ``requests_of``.

    It reads the whole SDK, which takes a second or two the first time.

    Raises:
        ModuleNotFoundError: databricks-sdk is not installed, or not as source files.
    """
    with _LOCK:
        sdk = _sdk()
        return MappingProxyType({name: sdk.requests_of(name) or () for name in sdk.names()})


def scopes_for(name: str) -> tuple[RequestScopes, ...] | None:
    """Return what the catalogue knows about the requests that a method of ``WorkspaceClient`` may send.

    Args:
        name: As for ``requests_of``.

    Returns:
        One entry for each request, or ``None`` if the installed SDK has no such method.

    Raises:
        ModuleNotFoundError: databricks-sdk is not installed, or not as source files.
    """
    requests = requests_of(name)
    if requests is None:
        return None
    return tuple(RequestScopes(request=each, route=route_for(each.method, each.path)) for each in requests)


_LOCK: Final = RLock()


@cache
def _sdk() -> _Sdk:
    return _Sdk()


class _Sdk:
    def __init__(self) -> None:
        module = Package("databricks.sdk").module("databricks.sdk")
        client = module.get("WorkspaceClient") if module else None
        if not isinstance(client, Class):
            raise ModuleNotFoundError("The installed databricks-sdk has no WorkspaceClient.", name="databricks.sdk")
        self._client = Instance(client)
        self._reader = Reader()
        self._direct: dict[Method, tuple[SdkRequest | Method, ...]] = {}
        self._found: dict[str, tuple[SdkRequest, ...] | None] = {}

    def requests_of(self, name: str) -> tuple[SdkRequest, ...] | None:
        if name not in self._found:
            reached = self._reach(_SENT_AS.get(name, name)) if self._reach(name) else None
            self._found[name] = self._closure(reached) if reached else None
        return self._found[name]

    def _reach(self, name: str) -> list[Method]:
        values: list[Value] = [self._client]
        for part in name.split("."):
            values = [reached for value in values for reached in self._reader.attribute(value, part)]
        return [method for value in values for method in self._callable(value)]

    def names(self) -> list[str]:
        return sorted(self._names(self._client, "", frozenset()))

    def _names(self, owner: Instance, prefix: str, above: frozenset[Class]) -> Iterator[str]:
        for cls in owner.cls.mro:
            for name, function in cls.functions.items():
                if name.startswith("_"):
                    continue
                if not function.is_property:
                    yield f"{prefix}{name}"
                    continue
                for value in self._reader.attribute(owner, name):
                    if isinstance(value, Instance) and value.cls not in above:
                        yield from self._names(value, f"{prefix}{name}.", above | {value.cls})

    def _closure(self, start: list[Method]) -> tuple[SdkRequest, ...]:
        """Return all requests that some methods lead to. Each way is followed once."""
        seen: set[Method] = set()
        requests: dict[SdkRequest, None] = {}

        def follow(method: Method) -> None:
            seen.add(method)
            for step in self._steps(method):
                if isinstance(step, SdkRequest):
                    requests[step] = None
                elif step not in seen:
                    follow(step)

        for method in start:
            follow(method)
        return tuple(requests)

    def _steps(self, method: Method) -> tuple[SdkRequest | Method, ...]:
        """Return what a method itself sends and calls."""
        if method not in self._direct:
            scope = Scope(method.function, method.owner)
            steps = (step for part in method.function.parts for step in self._step(part, scope))
            self._direct[method] = tuple(dict.fromkeys(steps))
        return self._direct[method]

    def _step(self, node: ast.AST, scope: Scope) -> Iterator[SdkRequest | Method]:
        if isinstance(node, ast.Attribute):
            for value in self._reader.values(node.value, scope):
                yield from (each for each in self._named(value, node.attr) if each.function.is_property)
        elif isinstance(node, ast.withitem):
            for value in self._reader.values(node.context_expr, scope):
                yield from self._named(value, "__enter__", "__exit__")
        elif isinstance(node, ast.BinOp):
            yield from _base(node, scope)
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            if name == "do":
                yield _request(node, scope)
            elif name == "secure_channel":
                yield SdkRequest(method=UNKNOWN, path=UNKNOWN)
            else:
                yield from self._call(node, scope)

    def _call(self, node: ast.Call, scope: Scope) -> Iterator[Method]:
        called = self._reader.values(node.func, scope)
        for value in called:
            if isinstance(value, Class):
                for built in self._reader.values(node, scope):
                    yield from self._named(built, "__init__")
            else:
                yield from self._callable(value)
        if called:
            return
        # Other code may call methods that are passed to it, and use an object as a file.
        for expr in (*node.args, *(keyword.value for keyword in node.keywords)):
            for value in self._reader.values(expr, scope):
                if isinstance(value, Method):
                    yield value
                yield from self._named(value, "read", "write")

    def _callable(self, value: Value) -> Iterator[Method]:
        if isinstance(value, Method):
            yield value
        yield from self._named(value, "__call__")

    def _named(self, value: Value, *names: str) -> Iterator[Method]:
        if isinstance(value, Instance):
            for name in names:
                function = find(value.cls.mro, name)
                if function:
                    yield Method(function, value)


def _request(call: ast.Call, scope: Scope) -> SdkRequest:
    """Return the request of a call such as ``api.do("GET", "/path")``."""
    passed = arguments(call, "method", "path")
    path = text_of(passed.get("path", passed.get("url")), scope).partition("?")[0]
    host = f"{UNKNOWN}/"
    return SdkRequest(
        method=text_of(passed.get("method"), scope),
        path=path[len(UNKNOWN) :] if path.startswith(host) else path,
    )


def _base(node: ast.BinOp, scope: Scope) -> Iterator[SdkRequest]:
    """Yield the address that a client of another library is built for: ``config.host + "/path"``."""
    path = text_of(node.right, scope)
    if isinstance(node.left, ast.Attribute) and node.left.attr == "host" and path.startswith("/"):
        yield SdkRequest(method=UNKNOWN, path=f"{path}/{UNKNOWN}")
