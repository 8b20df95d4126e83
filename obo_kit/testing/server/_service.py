"""Add a service to the local workspace: each service is a file.

The file holds a `Service` (its state and its routes) and a mixin with the service's methods for ``LocalWorkspace``
(``add_…``). The mixin names its service with `Part`. ``LocalWorkspace`` lists the mixins::

    class Volumes(Service):
        def apis(self) -> list[Api]: ...

    class VolumesMixin(Mixin):
        _volumes = Part(Volumes)

        def add_volume(self, name: str) -> None: ...
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar, cast, overload

if TYPE_CHECKING:
    from typing_extensions import Self

    from obo_kit.testing.iam._directory import Directory, ServicePrincipal
    from obo_kit.testing.iam._grants import Grants
    from obo_kit.testing.server._api import Answer, Api, Call
    from obo_kit.testing.server._faults import Faults
    from obo_kit.testing.server._log import RequestLog
    from obo_kit.testing.sql._engine import Engine

__all__ = ["Core", "Mixin", "Part", "Service"]


class Service:
    """One service of a workspace: its state and its routes. Lives as long as the workspace; thread-safe."""

    def __init__(self, core: Core) -> None:
        """Start empty. The server does not listen yet."""

    def apis(self) -> Iterable[Api]:
        """Return the routes. If two match a path, the first one answers."""
        return ()

    def close(self) -> None:
        """Stop what runs. The workspace no longer listens, and its engine is closed."""


S = TypeVar("S", bound=Service)


@dataclass(frozen=True, kw_only=True)
class Core:
    """The parts that the services of one workspace share. Lives as long as the workspace.

    Attributes:
        workspace_id: Numeric id, as text.
        directory: The users and service principals.
        grants: The securables and the grants on them.
        engine: Runs SQL.
        faults: The active faults.
        log: The request log.
        host: The address of the workspace. Raises RuntimeError while it does not run.
        threads: The threads for work that would block the event loop.
        obo: Tells of ``"apps"`` and ``"model-serving"`` whether users' tokens reach what runs there.
        inner: Answers a further request as part of one, for the same caller.
    """

    workspace_id: str
    directory: Directory
    grants: Grants
    engine: Engine
    faults: Faults
    log: RequestLog
    host: Callable[[], str]
    threads: Callable[[], Executor]
    obo: Callable[[str], bool]
    inner: Callable[[Call, str, str, bytes], Awaitable[Answer]]
    _services: dict[type[Service], Service] = field(default_factory=dict)

    def service(self, kind: type[S]) -> S:
        """Return the service of a kind. It is made on first use."""
        if kind not in self._services:
            self._services[kind] = kind(self)
        return cast("S", self._services[kind])

    def services(self) -> tuple[Service, ...]:
        """Return the services that have been made."""
        return tuple(self._services.values())

    def service_principal(self, name: str) -> ServicePrincipal:
        """Return the credentials of a service principal, which is added if it does not exist yet."""
        return self.directory.credentials(name) or self.directory.add_service_principal(name)


class Mixin:
    """The part of ``LocalWorkspace`` that one service adds."""

    _core: Core


class Part(Generic[S]):
    """A service as an attribute of a mixin."""

    def __init__(self, kind: type[S]) -> None:
        self.kind = kind

    @overload
    def __get__(self, workspace: None, owner: type) -> Self: ...
    @overload
    def __get__(self, workspace: Mixin, owner: type) -> S: ...
    def __get__(self, workspace: Mixin | None, owner: type) -> S | Self:
        return self if workspace is None else workspace._core.service(self.kind)
