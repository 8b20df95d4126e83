"""The playground: a local workspace, an agent that runs in it, and a page to ask the agent."""

from __future__ import annotations

import contextlib
import contextvars
import os
import queue
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from obo_kit.cli.playground._agents import app_agent, is_logged, model_agent
from obo_kit.cli.playground._answers import redacted, text_lines
from obo_kit.cli.playground._page import page_of
from obo_kit.cli.playground._timeline import Timeline
from obo_kit.exceptions import PolicyError
from obo_kit.policy._agent_file import collect
from obo_kit.policy._drawing import as_svg
from obo_kit.policy._report import Need, Picture, System, Tool, as_json, picture_of
from obo_kit.session._entry import user_session
from obo_kit.testing._kit import new_process
from obo_kit.testing.iam._grants import PRIVILEGES
from obo_kit.testing.server._uvicorn import Server
from obo_kit.testing.serving._deployments import read_policy
from obo_kit.testing.workspace import LocalWorkspace

if TYPE_CHECKING:
    from typing_extensions import Self

    from obo_kit.scopes._lookup import Target

__all__ = ["Playground"]


class Playground:
    """Asks one agent as the users of a local workspace, from a page on 127.0.0.1. Use it in a ``with`` block.

    Args:
        agent: An agent file, the dotted name of a module, or a logged model, as for ``mlflow.pyfunc.load_model``.
        config: The contents of the workspace, as for ``LocalWorkspace.from_config``. By default the file ``workspace.yaml``
            beside the agent or here; without one, alice, bob, and the warehouses and models that the agent declares.
        recording: A recording whose words the workspace uses to refuse; by default, what the configuration says.
        target: Where the agent runs; by default the target that its file is meant for.
        port: The port of the page; 0 for a free one.

    Attributes:
        url: The address of the page. It holds a token that nobody else knows.

    Raises:
        PolicyError: The agent cannot run. Raised when it starts.
        ConfigError: The workspace's file has a mistake. Raised when it starts.
        RecordingError: The recording cannot be used. Raised when it starts.
    """

    def __init__(
        self,
        agent: str,
        *,
        config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
        recording: str | os.PathLike[str] | None = None,
        target: Target | None = None,
        port: int = 0,
    ) -> None:
        self.url = ""
        self._agent = agent
        self._config = config
        self._recording = recording
        self._target: Target | None = target
        self._port = port
        self._stack = contextlib.ExitStack()

    def start(self) -> Self:
        """Start the workspace and the agent, and serve the page."""
        with contextlib.ExitStack() as stack:
            self._open(stack)
            self._stack = stack.pop_all()
        return self

    def stop(self) -> None:
        """End all of them. May be called twice."""
        self.url = ""
        self._stack.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _open(self, stack: contextlib.ExitStack) -> None:
        file = None if is_logged(self._agent) else collect(self._agent)
        target = self._target or (file.target[0] if file is not None and file.target else "model-serving")
        config = self._config if self._config is not None else _beside(self._agent)
        if config is None:
            if file is None:
                raise PolicyError(
                    "A logged model does not name any users to ask as.", remedy="Pass --config workspace.yaml."
                )
            config = _default_config(_resources(file.declarations))
        self.workspace = workspace = LocalWorkspace.from_config(config)
        if self._recording is not None:
            workspace.recording = self._recording
        stack.enter_context(workspace)
        if not workspace.users:
            raise PolicyError("The workspace has no users to ask as.", remedy="Add users: [alice, bob] to its file.")
        self._warm_up()
        if file is not None:
            self.picture = picture_of(self._agent, target=target)
        else:
            self.picture = _picture_of_model(self._agent)
        run = app_agent if target == "apps" else model_agent
        try:
            self.agent = stack.enter_context(run(self._agent, workspace))
        except ValueError as error:
            raise PolicyError(str(error), remedy="Add it to the workspace's file.") from None
        self.timeline = Timeline(workspace.log, self._name)
        stack.callback(self.timeline.close)
        declared = [] if file is None else _declared_grants(_resources(file.declarations), workspace)
        self._rows = sorted(
            {(privilege, kind, name) for _, privilege, kind, name in workspace._grants.entries()} | {*declared}
        )
        token = secrets.token_urlsafe(24)
        server = Server(page_of(self, token), port=self._port)
        stack.callback(server.stop)
        self.url = f"http://127.0.0.1:{server.port}/{token}/"

    def _warm_up(self) -> None:
        """Load what the first question would wait for."""
        user = self.workspace.users[0]
        token = self.workspace.token(user)
        if self.workspace._grants.names("sql_warehouse"):
            self.workspace._engine.run(self.workspace._directory.find(user), "SELECT 1")
        with new_process(), user_session(host=self.workspace.host, token=token) as session:
            session.client.current_user.me()
        self.workspace.log.clear()

    # ------------------------------------------------------------------ what the page shows and does

    def state(self) -> dict[str, Any]:
        """Return what the page shows before the first question."""
        return {
            "agent": self._agent,
            "target": self.picture.target,
            "notice": self.workspace.notice,
            "users": self.workspace.users,
            "scopes": [{"name": name, "reach": self.picture.reach.get(name, "")} for name in self.picture.scopes],
            "routes": self.agent.routes,
            "policy": as_json(self.picture),
            "grants": self.grants(),
        }

    def drawing(self) -> str:
        """Return the policy as SVG."""
        return as_svg(self.picture)

    def grants(self) -> dict[str, Any]:
        """Return the grants: a row for each grant that existed or that the agent needs, a column for each principal."""
        holders: dict[tuple[str, str, str], list[str]] = {row: [] for row in self._rows}
        for grantee, *row in self.workspace._grants.entries():
            holders.setdefault((row[0], row[1], row[2]), []).append(self._name(grantee))
        others = sorted({who for names in holders.values() for who in names}.difference(self.workspace.users))
        return {
            "columns": [*self.workspace.users, *others],
            "rows": [
                {"privilege": privilege, "kind": kind, "name": name, "holders": who}
                for (privilege, kind, name), who in holders.items()
            ],
        }

    def change_grant(self, principal: str, privilege: str, kind: str, name: str, *, held: bool) -> dict[str, Any]:
        """Grant or revoke a privilege, and return the grants.

        Raises:
            ValueError: There is no such principal, privilege or securable.
        """
        change = self.workspace.grant if held else self.workspace.revoke
        change(principal, privilege, name, kind=kind)
        return self.grants()

    def ask(self, user: str, scopes: Iterable[str], question: str, route: str = "") -> Iterator[dict[str, Any]]:
        """Ask the agent as a user, and yield the answer and the requests it sends meanwhile, as they come.

        Raises:
            ValueError: There is no such user.
        """
        if user not in self.workspace.users:
            raise ValueError(f"There is no user {user!r} in this workspace")
        lines: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # In a fresh context, so that what the agent sets there is gone after the question.
        context = contextvars.Context()
        arguments = (self._work, user, tuple(scopes), question, route, lines.put)
        threading.Thread(target=context.run, args=arguments, name=f"ask as {user}", daemon=True).start()
        return iter(lines.get, None)

    def _work(self, user: str, scopes: tuple[str, ...], question: str, route: str, put: Callable[[Any], None]) -> None:
        try:
            with self.timeline.of(user, put):
                for line in text_lines(self.agent.ask(user, scopes, question, route)):
                    put({**line, "text": redacted(line["text"])})
        except Exception as error:
            put({"type": "error", "text": redacted(f"{type(error).__name__}: {error}")})
        finally:
            put({"type": "done"})
            put(None)

    def _name(self, principal: str) -> str:
        """Return a principal's name in this workspace. A group has only one name."""
        with contextlib.suppress(ValueError):
            return self.workspace._directory.find(principal).name
        return principal


def _beside(agent: str) -> str | None:
    for folder in (os.path.dirname(os.path.abspath(agent)), os.getcwd()):
        if os.path.isfile(path := os.path.join(folder, "workspace.yaml")):
            return path
    return None


def _resources(declarations: Iterable[Any]) -> list[tuple[str, str]]:
    """Return kind and name of each resource that an agent declares."""
    resources = [
        item.resource
        for declaration in declarations
        for item in declaration.requirements
        if item.resource is not None and item.kind is not None
    ]
    resources += [resource for declaration in declarations for resource in declaration.system]
    return list(
        dict.fromkeys(
            (str(resource.type.value), str(resource.name)) for resource in resources if hasattr(resource, "type")
        )
    )


def _default_config(resources: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Return a workspace with alice, who may use what the agent declares, and bob, who may not."""
    names: dict[str, list[str]] = {}
    for kind, name in resources:
        names.setdefault(kind, []).append(name)
    warehouses, endpoints = names.get("sql_warehouse", []), names.get("serving_endpoint", [])
    echo = ["This answer takes the place of a model's: write a workspace.yaml with answers of your own."] * 1000
    grants = {privilege: names for privilege, names in (("CAN USE", warehouses), ("CAN QUERY", endpoints)) if names}
    return {
        "users": ["alice", "bob"],
        "warehouses": warehouses,
        "endpoints": {name: {"model": echo} for name in endpoints},
        **({"grants": {"alice": grants}} if grants else {}),
    }


def _declared_grants(resources: Iterable[tuple[str, str]], workspace: LocalWorkspace) -> list[tuple[str, str, str]]:
    return [
        (PRIVILEGES[kind][0], kind, name)
        for kind, name in resources
        if kind in PRIVILEGES and workspace._grants.exists(kind, name)
    ]


def _picture_of_model(uri: str) -> Picture:
    """Return the policy of a logged model. It does not record which tool needs what."""
    from mlflow.models import Model

    policy = read_policy(Model.load(uri))
    scopes = tuple(sorted(policy["user_auth_policy"].get("api_scopes") or ()))
    listed = policy["system_auth_policy"].get("resources", {}).get("databricks", {})
    needs = tuple(Need(resource=None, scopes=(scope,), grants=()) for scope in scopes)
    return Picture(
        target="model-serving",
        scopes=scopes,
        tools=(Tool(name="(the agent's tools)", needs=needs),),
        system=tuple(
            System(resource=f"{kind.replace('_', ' ').capitalize()} {entry['name']}", permission=None)
            for kind, entries in listed.items()
            for entry in entries
        ),
        reach={},
    )
