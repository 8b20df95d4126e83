"""Run the agent as its platform does: a logged model in Model Serving, or an app behind the proxy of Databricks Apps."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol

from obo_kit.cli.playground._answers import request_of
from obo_kit.cli.playground._apps import application_of, refuse_pages, routes_of, served
from obo_kit.policy._dry_run import silent_dry_run
from obo_kit.policy._layout import layout_of, locate
from obo_kit.policy._policy import auth_policy
from obo_kit.testing.serving._deployments import check_scopes, grant_resources, read_policy

if TYPE_CHECKING:
    from obo_kit.testing import AppRuntime, LocalWorkspace, ModelServingRuntime

__all__ = ["PRINCIPAL", "AgentAtWork", "app_agent", "is_logged", "model_agent"]

PRINCIPAL: Final = "the agent itself"


class AgentAtWork(Protocol):
    """A running agent.

    Attributes:
        routes: The routes that answer questions, the usual one first; empty if there is only one way to ask.
    """

    routes: tuple[str, ...]

    def ask(self, user: str, scopes: Iterable[str], question: str, route: str) -> Iterator[Any]:
        """Yield the agent's answer to a user whose token carries the scopes: events, or one whole answer."""
        ...


class _Model:
    """A logged model, loaded once, in Model Serving's environment."""

    routes: tuple[str, ...] = ()

    def __init__(self, model: Any, runtime: ModelServingRuntime) -> None:
        self._model = model
        self._runtime = runtime
        loader = str(model.metadata.flavors["python_function"].get("loader_module"))
        self._chat = "chat" in loader

    def ask(self, user: str, scopes: Iterable[str], question: str, route: str) -> Iterator[Any]:
        payload = request_of(question, chat=self._chat)
        with self._runtime.user(user, scopes=scopes):
            try:
                yield from self._model.predict_stream(payload)
            except NotImplementedError:  # it does not stream, which MLflow reports at the first step
                yield self._model.predict(payload)


@contextlib.contextmanager
def model_agent(source: str, workspace: LocalWorkspace) -> Iterator[AgentAtWork]:
    """Run an agent file, or a logged model, as Model Serving does.

    A file is saved with MLflow and loaded again, so that what runs is what would be deployed.

    Args:
        source: A Python file that calls ``set_model()``, or a source for ``mlflow.pyfunc.load_model``.
        workspace: The running workspace with its users.

    Raises:
        PolicyError: The file cannot be collected, or Model Serving cannot grant what a tool declares.
        ValueError: The workspace lacks a resource of the system policy.
    """
    import mlflow.pyfunc
    from mlflow.models import Model

    with contextlib.ExitStack() as stack:
        uri = source
        stack.enter_context(_untraced())
        if not is_logged(source):
            path = locate(source)
            stack.enter_context(_importable(path))
            uri = os.path.join(stack.enter_context(tempfile.TemporaryDirectory(prefix="obo-kit-")), "model")
            with silent_dry_run():
                mlflow.pyfunc.save_model(
                    path=uri, python_model=path, auth_policy=auth_policy(source), pip_requirements=["mlflow"]
                )
        policy = read_policy(Model.load(uri))
        check_scopes(policy, source)
        runtime = stack.enter_context(workspace.as_model_serving(service_principal=PRINCIPAL))
        grant_resources(policy, PRINCIPAL, workspace._grants)
        yield _Model(mlflow.pyfunc.load_model(uri), runtime)


def is_logged(source: str) -> bool:
    """Return whether a source is a logged model, and not a file."""
    return ":/" in source or os.path.isfile(os.path.join(source, "MLmodel"))


@contextlib.contextmanager
def _importable(path: str) -> Iterator[None]:
    """Make the modules beside an agent file importable, as they are where it is deployed."""
    layout = layout_of(path)
    before = list(sys.path)
    sys.path[:0] = [
        folder for folder in (layout.root, os.path.dirname(os.path.abspath(path)), *layout.project) if folder
    ]
    try:
        yield
    finally:
        sys.path[:] = before


@contextlib.contextmanager
def _untraced() -> Iterator[None]:
    """Write no traces in the block: they would go to the author's own MLflow."""
    tracing: Any = importlib.import_module("mlflow.tracing")
    tracing.disable()
    try:
        yield
    finally:
        tracing.reset()  # unlike `enable`, it does not open the store at once


class _App:
    """An ASGI application that is served on loopback, and asked with the headers that the proxy of Apps adds."""

    def __init__(self, address: str, routes: tuple[str, ...], runtime: AppRuntime) -> None:
        self._address = address
        self._runtime = runtime
        self.routes = routes

    def ask(self, user: str, scopes: Iterable[str], question: str, route: str) -> Iterator[Any]:
        import requests

        method, _, path = (route if route in self.routes else self.routes[0]).partition(" ")
        agent = path in ("/invocations", "/responses")
        body = request_of(question)
        if not agent and "input" in body:
            body = {"question": question}
        streams = agent and _streams()
        sent: dict[str, Any] = (
            {"params": body} if method == "GET" else {"json": {**body, "stream": True} if streams else body}
        )
        headers = self._runtime.headers(user, scopes=scopes)
        with requests.Session() as session:
            session.trust_env = False  # the address is on loopback, so no proxy applies
            with session.request(
                method, self._address + path, headers=headers, stream=True, timeout=600, **sent
            ) as response:
                if not response.ok:
                    raise RuntimeError(f"The app answered {response.status_code}: {response.text[:2000]}")
                if response.headers.get("content-type", "").startswith("text/event-stream"):
                    yield from _events(response.iter_lines())
                elif "json" in response.headers.get("content-type", ""):
                    yield response.json()
                else:
                    response.encoding = response.encoding or "utf-8"
                    for text in response.iter_content(None, decode_unicode=True):
                        yield {"type": "response.output_text.delta", "delta": text}


def _streams() -> bool:
    """Return whether MLflow's agent server has a function that streams."""
    server = sys.modules.get("mlflow.genai.agent_server.server")
    return server is not None and server.get_stream_function() is not None


def _events(lines: Iterable[bytes]) -> Iterator[Any]:
    for line in lines:
        text = line.decode("utf-8", "replace")
        if text.startswith("data: ") and text != "data: [DONE]":
            try:
                yield json.loads(text.removeprefix("data: "))
            except ValueError:
                yield {"type": "response.output_text.delta", "delta": text.removeprefix("data: ")}


@contextlib.contextmanager
def app_agent(source: str, workspace: LocalWorkspace) -> Iterator[AgentAtWork]:
    """Run an app's file as Databricks Apps does.

    Args:
        source: A Python file with an application: FastAPI, Starlette, Flask, or MLflow's agent server.
        workspace: The running workspace with its users.

    Raises:
        PolicyError: The file has no such application, or draws a page.
    """
    path = locate(source)
    refuse_pages(path)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_importable(path))
        runtime = stack.enter_context(workspace.as_app(service_principal=PRINCIPAL))
        stack.enter_context(_untraced())
        app = application_of(_loaded(path), path)
        yield _App(stack.enter_context(served(app)), routes_of(app), runtime)


def _loaded(path: str) -> Any:
    layout = layout_of(path)
    if layout.name:
        return importlib.import_module(layout.name)
    name = os.path.splitext(os.path.basename(path))[0]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
