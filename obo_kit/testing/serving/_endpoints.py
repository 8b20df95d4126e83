"""Model serving endpoints: models that an author writes, embeddings, and deployed agents."""

from __future__ import annotations

import asyncio
import functools
import re
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from typing import Any, Protocol

from obo_kit.testing._refusals import RefusedError
from obo_kit.testing.search._embedding import embed
from obo_kit.testing.server._api import Answer, Api, Call
from obo_kit.testing.server._service import Core, Mixin, Part, Service
from obo_kit.testing.serving._deployments import check_scopes, exchange
from obo_kit.testing.serving._models import ChatModel, FunctionAgent, Model, Reply, Script

__all__ = ["EmbeddingModel", "Serving", "ServingMixin"]

EmbeddingModel = Callable[[Sequence[str]], Iterable[Iterable[float]]]
"""Takes texts, and returns a vector per text."""

# The paths that take the endpoint's name in the body, besides the endpoint's own path. Those of the gateway are documented
# by databricks-openai (``use_ai_gateway``, ``use_ai_gateway_native_api``).
_BASES = ("/serving-endpoints", "/ai-gateway/mlflow/v1", "/ai-gateway/openai/v1")
_PROTOCOLS = ("chat/completions", "completions", "embeddings", "responses")


class _Served(Protocol):
    """Something that answers the invocations of one endpoint, in threads of its own if it has a pool."""

    @property
    def task(self) -> str: ...
    @property
    def pool(self) -> Executor | None: ...
    def invoke(self, call: Call, body: dict[str, Any], /) -> Answer: ...
    def describe(self) -> dict[str, Any]: ...


class Serving(Service):
    """Serves the endpoints of one workspace. Lives as long as the workspace."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._grants = core.grants
        self._pool = core.threads
        self._lock = threading.Lock()
        self._endpoints: dict[str, _Served] = {}

    def add_model(
        self, name: str, model: ChatModel | Sequence[Reply | Exception], *, scopes: Iterable[str] | None = None
    ) -> None:
        """Serve a model, or an agent with these scopes. Errors as for ``LocalWorkspace.add_endpoint``."""
        if isinstance(model, (list, tuple)):
            model = Script(model)
        if not callable(model):
            msg = f"The model of endpoint {name!r} must be callable, or a list of answers, not {type(model).__name__}"
            raise ValueError(msg)
        if scopes is None:
            self.add(name, Model(name, model, self._pool))
        else:
            self._add_agent(name, model, scopes)

    def _add_agent(self, name: str, model: ChatModel, scopes: Iterable[str]) -> None:
        if isinstance(scopes, str):
            msg = f"user_api_scopes= takes names in a list, not the single string {scopes!r}"
            raise ValueError(msg)
        policy = {"user_auth_policy": {"api_scopes": list(scopes)}}
        check_scopes(policy, name)
        exchanged = functools.partial(exchange, self._core.directory)
        self.add(
            name,
            FunctionAgent(
                name,
                model,
                scopes=policy["user_auth_policy"]["api_scopes"],
                exchange=exchanged,
                host=self._core.host,
            ),
        )

    def close(self) -> None:
        with self._lock:
            agents = [served for served in self._endpoints.values() if isinstance(served, FunctionAgent)]
        for agent in agents:
            agent.close()

    def add_embedding(self, name: str, model: EmbeddingModel = embed) -> None:
        """Serve an embedding model. Raises ValueError if the name is taken or malformed, or the model is not callable."""
        if not callable(model):
            msg = f"The model of endpoint {name!r} must be callable, not {type(model).__name__}"
            raise ValueError(msg)
        self.add(name, _Embedding(name, model))

    def add(self, name: str, served: _Served) -> None:
        """Serve anything. Raises ValueError if the name is taken or malformed."""
        if not re.fullmatch(r"[\w-]+", name):
            msg = f"The name of an endpoint consists of letters, digits, - and _, not {name!r}"
            raise ValueError(msg)
        self._grants.register("serving_endpoint", name)
        with self._lock:
            self._endpoints[name] = served

    def remove(self, name: str) -> None:
        """Stop serving an endpoint and forget the grants on it."""
        with self._lock:
            self._endpoints.pop(name, None)
        self._grants.unregister("serving_endpoint", name)

    def apis(self) -> list[Api]:
        """Return the routes."""
        control = "/api/2.0/serving-endpoints"
        return [
            Api(method="GET", path=control, handler=self._list),
            Api(method="GET", path=control + "/{endpoint}", handler=self._describe),
            *(
                Api(method="POST", path=f"{base}/{protocol}", handler=self._by_model)
                for base in _BASES
                for protocol in _PROTOCOLS
            ),
            Api(method="POST", path="/serving-endpoints/{endpoint}/invocations", handler=self._invoke),
        ]

    # ------------------------------------------------------------------ handlers

    def _list(self, call: Call) -> Answer:
        # The platform silently omits what the user may not query.
        with self._lock:
            endpoints = sorted(self._endpoints.items())
        mine = [_body(name, served) for name, served in endpoints if self._visible(call, name)]
        return Answer(content={"endpoints": mine})

    def _describe(self, call: Call) -> Answer:
        name = call.params["endpoint"]
        served = self._find(name, "serving_missing")
        if not self._visible(call, name):
            raise RefusedError("serving_denied", name=name)
        return Answer(content={**_body(name, served), **served.describe()})

    async def _by_model(self, call: Call) -> Answer:
        body = call.json()
        return await self._query(call, call.text(body, "model"), body)

    async def _invoke(self, call: Call) -> Answer:
        return await self._query(call, call.params["endpoint"], call.json())

    async def _query(self, call: Call, name: str, body: dict[str, Any]) -> Answer:
        served = self._find(name, "serving_missing")
        if not self._grants.holds(call.user.principal, "CAN QUERY", "serving_endpoint", name):
            raise RefusedError("serving_denied", name=name)
        # An agent calls this server while it runs, so it must not occupy the threads that will answer those calls.
        pool = served.pool or self._pool()
        answer = await asyncio.get_running_loop().run_in_executor(pool, served.invoke, call, body)
        return Answer(
            content=answer.content,
            decision=answer.decision,
            headers={**answer.headers, "served-model-name": name},
        )

    def _visible(self, call: Call, name: str) -> bool:
        who = call.user.principal
        return any(self._grants.holds(who, wanted, "serving_endpoint", name) for wanted in ("CAN QUERY", "CAN VIEW"))

    def _find(self, name: str, refusal: str) -> _Served:
        with self._lock:
            served = self._endpoints.get(name)
        if served is None:
            raise RefusedError(refusal, name=name)
        return served


def _body(name: str, served: _Served) -> dict[str, Any]:
    return {
        "name": name,
        "id": uuid.uuid5(uuid.NAMESPACE_DNS, name).hex,
        "task": served.task,
        "state": {"ready": "READY", "config_update": "NOT_UPDATING"},
        "config": {"served_entities": [{"name": name, "entity_name": name}]},
        "route_optimized": False,
    }


class _Embedding:
    task = "llm/v1/embeddings"
    pool: Executor | None = None

    def __init__(self, name: str, embed: EmbeddingModel) -> None:
        self._name = name
        self._embed = embed

    def describe(self) -> dict[str, Any]:
        return {}

    def invoke(self, _call: Call, body: dict[str, Any], /) -> Answer:
        texts = body.get("input")
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            raise RefusedError("invalid_parameter", detail="input must be a text or a list of texts")
        try:
            vectors = [[float(number) for number in vector] for vector in self._embed(texts)]
            if len(vectors) != len(texts):
                msg = f"an embedding model returns a vector per text, not {len(vectors)} for {len(texts)}"
                raise ValueError(msg)
        except Exception as error:
            raise RefusedError("model_error", error=type(error).__name__, detail=str(error)) from error
        count = sum(len(text.split()) for text in texts)
        data = [{"object": "embedding", "index": number, "embedding": row} for number, row in enumerate(vectors)]
        return Answer(
            content={
                "object": "list",
                "model": self._name,
                "data": data,
                "usage": {"prompt_tokens": count, "total_tokens": count},
            }
        )


class ServingMixin(Mixin):
    """Model serving endpoints."""

    _serving = Part(Serving)

    def add_endpoint(
        self,
        name: str,
        model: ChatModel | Sequence[Reply | Exception],
        *,
        user_api_scopes: Iterable[str] | None = None,
    ) -> None:
        """Add a model serving endpoint for chat, completions and responses. Users need CAN QUERY on it.

        With ``user_api_scopes`` it is an agent that acts as whoever asks, as one that was logged with a policy of these
        scopes: the function runs in a session of the caller, whose token carries these scopes and no others. What its
        tools call is in the log under the caller's name::

            workspace.add_endpoint("orders-agent", lambda request: count_orders(), user_api_scopes=["sql"])

        Args:
            name: Its name.
            model: A function, or a list of answers. A function takes the body of a chat request (``messages``, ``tools``
                and so on; a completion or responses request is translated into one). It returns the answer: text, an
                assistant message with ``tool_calls``, or an iterator (such as a generator) of both, which a client that
                streams gets as it is made. It runs in worker threads; what it raises is answered with 400. A list gives
                such answers in turn; an exception in it is raised.
            user_api_scopes: The scopes of the agent's policy. None for a model that calls nothing.

        Raises:
            ValueError: The name is malformed or taken, or the model is neither a function nor a list.
            databricks.sdk.errors.InvalidParameterValue: Model Serving refuses one of the scopes.
        """
        self._serving.add_model(name, model, scopes=user_api_scopes)

    def add_embedding_endpoint(self, name: str, model: EmbeddingModel | None = None) -> None:
        """Add a model serving endpoint for embeddings. Users need CAN QUERY on it.

        Args:
            name: Its name.
            model: Takes a list of texts and returns a vector for each. By default, parts of words are hashed into vectors
                of 256 numbers: texts that share words are near each other, but there is no language model.

        Raises:
            ValueError: The name is malformed or taken, or the model is not callable.
        """
        if model is None:
            self._serving.add_embedding(name)
        else:
            self._serving.add_embedding(name, model)
