"""Model serving endpoints: chat models written as functions, lexical embeddings, and deployed agents."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from typing import Any, Protocol

from starlette.responses import StreamingResponse

from obo_kit.testing._gate import Answer, Api, Call
from obo_kit.testing._grants import Grants
from obo_kit.testing._refusals import RefusedError

__all__ = ["DONE", "ChatModel", "Serving", "sse"]

ChatModel = Callable[[dict[str, Any]], "str | dict[str, Any]"]
"""Takes the body of a chat request (``messages``, ``tools`` and so on), returns the answer: its text, or an assistant
message with ``tool_calls``."""

DONE = b"data: [DONE]\n\n"
_EMBEDDING_SIZE = 256


class _Served(Protocol):
    """Something that answers the invocations of one endpoint, in threads of its own where it has a pool."""

    @property
    def task(self) -> str: ...
    @property
    def pool(self) -> Executor | None: ...
    def invoke(self, call: Call, body: dict[str, Any], /) -> Answer: ...
    def describe(self) -> dict[str, Any]: ...


class Serving:
    """Serves the endpoints of one workspace. Lives as long as it."""

    def __init__(self, grants: Grants, pool: Callable[[], Executor]) -> None:
        self._grants = grants
        self._pool = pool
        self._lock = threading.Lock()
        self._endpoints: dict[str, _Served] = {}

    def add_chat(self, name: str, model: ChatModel) -> None:
        """Serve a chat model. ValueError where the name is taken or not plain, or the model cannot be called."""
        if not callable(model):
            msg = f"The model of endpoint {name!r} must be callable, not {type(model).__name__}"
            raise ValueError(msg)
        self.add(name, _Chat(name, model))

    def add_embedding(self, name: str) -> None:
        """Serve lexical embeddings under a name."""
        self.add(name, _Embedding(name))

    def add(self, name: str, served: _Served) -> None:
        """Serve anything. ValueError where the name is taken or not plain."""
        if not re.fullmatch(r"[\w-]+", name):
            msg = f"The name of an endpoint is made of letters, digits, - and _, not {name!r}"
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
        """The routes."""
        control = "/api/2.0/serving-endpoints"
        return [
            Api(method="GET", path=control, handler=self._list),
            Api(method="GET", path=control + "/{endpoint}", handler=self._describe),
            Api(method="POST", path="/serving-endpoints/chat/completions", handler=self._by_model),
            Api(method="POST", path="/serving-endpoints/embeddings", handler=self._by_model),
            Api(method="POST", path="/serving-endpoints/{endpoint}/invocations", handler=self._invoke),
        ]

    # ------------------------------------------------------------------ handlers

    def _list(self, call: Call) -> Answer:
        # The platform leaves out, without a word, what the user may not query.
        with self._lock:
            endpoints = sorted(self._endpoints.items())
        mine = [_body(name, served) for name, served in endpoints if self._visible(call, name)]
        return Answer(content={"endpoints": mine})

    def _describe(self, call: Call) -> Answer:
        name = call.params["endpoint"]
        served = self._find(name)
        if not self._visible(call, name):
            raise RefusedError("serving_denied", name=name)
        return Answer(content={**_body(name, served), **served.describe()})

    async def _by_model(self, call: Call) -> Answer:
        body = call.json()
        return await self._query(call, call.text(body, "model"), body)

    async def _invoke(self, call: Call) -> Answer:
        return await self._query(call, call.params["endpoint"], call.json())

    async def _query(self, call: Call, name: str, body: dict[str, Any]) -> Answer:
        served = self._find(name)
        if not self._grants.holds(call.user.principal, "CAN QUERY", "serving_endpoint", name):
            raise RefusedError("serving_denied", name=name)
        # An agent calls this server while it runs. It must not take the threads that will answer those calls.
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

    def _find(self, name: str) -> _Served:
        with self._lock:
            served = self._endpoints.get(name)
        if served is None:
            raise RefusedError("serving_missing", name=name)
        return served


def sse(event: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    return f"data: {json.dumps(event)}\n\n".encode()


def _body(name: str, served: _Served) -> dict[str, Any]:
    return {
        "name": name,
        "id": uuid.uuid5(uuid.NAMESPACE_DNS, name).hex,
        "task": served.task,
        "state": {"ready": "READY", "config_update": "NOT_UPDATING"},
        "route_optimized": False,
    }


class _Chat:
    task = "llm/v1/chat"
    pool: Executor | None = None

    def __init__(self, name: str, model: ChatModel) -> None:
        self._name = name
        self._model = model

    def describe(self) -> dict[str, Any]:
        return {}

    def invoke(self, _call: Call, body: dict[str, Any], /) -> Answer:
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages or not all(isinstance(entry, dict) for entry in messages):
            raise RefusedError("invalid_parameter", detail="messages must be a list of at least one chat message")
        try:
            message = _assistant(self._model(body))
        except Exception as error:
            # Whatever the author's function does, the endpoint answers as an endpoint.
            raise RefusedError("model_error", error=type(error).__name__, detail=str(error)) from error
        identifier, created = f"chatcmpl_{uuid.uuid4().hex}", int(time.time())
        reason = "tool_calls" if message.get("tool_calls") else "stop"
        head = {"id": identifier, "created": created, "model": self._name}
        if body.get("stream"):
            events = _chunks({**head, "object": "chat.completion.chunk"}, message, reason)
            return Answer(content=StreamingResponse(events, media_type="text/event-stream"))
        usage = _usage(messages, message)
        choice = {"index": 0, "message": message, "finish_reason": reason}
        return Answer(content={**head, "object": "chat.completion", "choices": [choice], "usage": usage})


def _assistant(answer: Any) -> dict[str, Any]:
    if isinstance(answer, str):
        return {"role": "assistant", "content": answer}
    if not isinstance(answer, dict):
        msg = f"a chat model returns text or an assistant message (a dict), not {type(answer).__name__}"
        raise TypeError(msg)
    message = {"role": "assistant", "content": None, **answer}
    if message.get("tool_calls"):
        message["tool_calls"] = [_tool_call(entry) for entry in message["tool_calls"]]
    # A message that JSON cannot hold is the author's mistake, and is reported as one.
    return dict(json.loads(json.dumps(message)))


def _tool_call(entry: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(entry["function"])
    if not isinstance(function.get("arguments", "{}"), str):
        function["arguments"] = json.dumps(function["arguments"])
    return {"id": entry.get("id") or f"call_{uuid.uuid4().hex}", "type": "function", "function": function}


def _chunks(head: Mapping[str, Any], message: Mapping[str, Any], reason: str) -> Iterator[bytes]:
    def chunk(delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        return sse({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    yield chunk({"role": "assistant", "content": ""})
    for word in re.findall(r"\S+\s*|\s+", message.get("content") or ""):
        yield chunk({"content": word})
    if message.get("tool_calls"):
        calls = [{"index": number, **entry} for number, entry in enumerate(message["tool_calls"])]
        yield chunk({"tool_calls": calls})
    yield chunk({}, reason)
    yield DONE


def _usage(messages: list[dict[str, Any]], message: Mapping[str, Any]) -> dict[str, int]:
    """Words, in place of tokens: a number that grows with the text is all a test needs."""
    asked = sum(len(str(entry.get("content") or "").split()) for entry in messages)
    answered = len(str(message.get("content") or "").split())
    return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}


class _Embedding:
    task = "llm/v1/embeddings"
    pool: Executor | None = None

    def __init__(self, name: str) -> None:
        self._name = name

    def describe(self) -> dict[str, Any]:
        return {}

    def invoke(self, _call: Call, body: dict[str, Any], /) -> Answer:
        texts = body.get("input")
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            raise RefusedError("invalid_parameter", detail="input must be a text or a list of texts")
        from sklearn.feature_extraction.text import HashingVectorizer

        vectorizer: Any = HashingVectorizer(analyzer="char_wb", ngram_range=(2, 5), n_features=_EMBEDDING_SIZE)
        vectors = vectorizer.transform(texts).toarray().tolist()
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
