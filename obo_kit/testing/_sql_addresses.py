"""Let databricks-sql-connector find a local workspace by the host that a runtime sets, as it finds the platform.

The connector puts ``https://`` before every host and uses port 443, so an app that passes ``Config().host`` on would not reach
a workspace on loopback. While a workspace runs, this module passes hosts on loopback to the connector in a form that it
accepts. Read in databricks-sql-connector 4.2 to 4.9.

A connection that is dropped open closes itself when it is collected. That may happen in a thread of the workspace, which
would wait for itself, so it is closed in a thread of its own. A connection to a workspace that has stopped counts as
closed, since it would try to reach it for a quarter of an hour.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.abc
import importlib.machinery
import os
import queue
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

__all__ = ["SITE", "on_loopback", "taught"]

SITE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_site")
"""The folder whose ``sitecustomize`` does the same in processes that start in a runtime."""

_MODULE = "databricks.sql.client"
_LOOPBACK = "127.0.0.1"


_lock = threading.Lock()
# The addresses of the workspaces that run, and of those whose runtimes are open, the innermost last.
_hosts: list[str] = []
# The connections to a workspace, by its port.
_connections: dict[int, weakref.WeakSet[Any]] = {}


@contextlib.contextmanager
def on_loopback(host: str) -> Iterator[None]:
    """Make the connector reach this workspace for the block."""
    with _lock:
        _hosts.append(host)
        module = sys.modules.get(_MODULE)
        if module is not None:
            _teach(module)
        elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
            sys.meta_path.insert(0, _Finder())
    try:
        yield
    finally:
        with _lock:
            _hosts.remove(host)
            port = urlsplit(host).port or 0
            lost = () if host in _hosts else tuple(_connections.pop(port, ()))
        for connection in lost:
            connection.session.is_open = False


def taught(host: str, path: Sequence[str] | None) -> importlib.machinery.ModuleSpec | None:
    """Return the connector's module so that it finds a workspace, in a process that a runtime's block started."""
    _hosts.append(host)
    return _Finder().find_spec(_MODULE, path)


def _settings(server_hostname: str, http_path: str) -> dict[str, Any]:
    """Return the connector's arguments for a host on loopback; empty for any other host."""
    parts = urlsplit(server_hostname if "://" in server_hostname else f"//{server_hostname}")
    with _lock:
        fitting = [host for host in _hosts if parts.port in {None, urlsplit(host).port}]
    if parts.hostname != _LOOPBACK or not fitting:
        return {}
    address = urlsplit(fitting[-1])
    settings: dict[str, Any] = {"server_hostname": _LOOPBACK, "_port": address.port, "enable_telemetry": False}
    if address.scheme == "http":
        settings["_connection_uri"] = f"{fitting[-1]}/{http_path.lstrip('/')}"
    return settings


def _teach(module: ModuleType) -> None:
    connection: Any = module.Connection
    known: Callable[..., None] = connection.__init__
    if getattr(known, "obo_kit", False):
        return

    @functools.wraps(known)
    def init(self: Any, server_hostname: str, http_path: str, *args: Any, **kwargs: Any) -> None:
        settings = _settings(str(server_hostname), str(http_path))
        if "_connection_uri" not in kwargs:
            server_hostname = settings.pop("server_hostname", server_hostname)
            kwargs = {**kwargs, **settings}
        known(self, server_hostname, http_path, *args, **kwargs)
        if settings:
            with _lock:
                _connections.setdefault(settings["_port"], weakref.WeakSet()).add(self)

    init.obo_kit = True  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    connection.__init__ = init
    connection.__del__ = _elsewhere(connection.__del__)
    module.Session._create_backend = _unencrypted(module.Session._create_backend)


def _elsewhere(finalize: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return a finalizer that hands the object to a thread, without waiting for anything."""
    dropped: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def work() -> None:
        while True:
            # As in a finalizer, nobody is there to take an error: of a connection that was never made, say.
            with contextlib.suppress(Exception):
                finalize(dropped.get())

    threading.Thread(target=work, name="obo-kit-dropped-connections", daemon=True).start()
    # A function, since an object of another kind would not be bound to the connection.
    return lambda connection: dropped.put(connection)  # noqa: PLW0108


def _unencrypted(create: Callable[..., Any]) -> Callable[..., Any]:
    """Let the other modes connect without TLS, as ``_connection_uri`` lets Thrift. Authentication still reads the bare host."""

    @functools.wraps(create)
    def create_backend(self: Any, server_hostname: str, *args: Any) -> Any:
        settings = args[-1]
        if str(settings.get("_connection_uri")).startswith("http://"):
            # SEA mode adds the port itself; the kernel takes a whole address.
            port = f":{settings['_port']}" if settings.get("use_kernel") else ""
            server_hostname = f"http://{server_hostname}{port}"
        return create(self, server_hostname, *args)

    return create_backend


class _Finder(importlib.abc.MetaPathFinder):
    """Waits for the connector to be imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the module's own spec, with an extra step after the module is executed."""
        if fullname != _MODULE:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        loader: Any = spec.loader if spec is not None else None
        if loader is not None:
            execute = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                _teach(module)

            loader.exec_module = exec_module
        return spec
