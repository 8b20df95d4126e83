"""Serve models that an author writes as a function or a script, as chat, completions and responses.

The forms are those that the ``openai`` package declares. Inferred from an example in MLflow's deployment client: a chat's last
chunk carries the usage unasked. A model handles only chat; the other two are translated.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import re
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Protocol

from starlette.responses import StreamingResponse

from obo_kit.testing._kit import as_user_of
from obo_kit.testing._refusals import RefusedError
from obo_kit.testing.iam._directory import Caller
from obo_kit.testing.server._api import Answer, Call
from obo_kit.testing.server._streams import DONE, Steps, sse, sse_error

__all__ = ["ChatModel", "Exchange", "FunctionAgent", "Model", "Reply", "Script"]

Reply = str | Mapping[str, Any] | Iterator[str | Mapping[str, Any]]
"""Text; an assistant message (``content``, ``tool_calls``); or an iterator of both, sent piece by piece."""

ChatModel = Callable[[dict[str, Any]], Reply]
"""Takes the body of a chat request (``messages``, ``tools`` and so on), whichever protocol it came by."""

Exchange = Callable[[Caller, Sequence[str]], str]
"""Takes a caller and scopes, and returns a token of the same user with these."""

# The number of characters of a tool call's arguments per event.
_FRAGMENT = 16


class Script:
    """A model that gives its answers in turn. An exception among them is raised. Thread-safe."""

    def __init__(self, answers: Iterable[Reply | Exception]) -> None:
        self._lock = threading.Lock()
        self._answers = iter(list(answers))

    def __call__(self, _body: dict[str, Any]) -> Reply:
        """Return the next answer. Raises LookupError if none is left."""
        with self._lock:
            answer = next(self._answers, None)
        if answer is None:
            msg = "the script of this endpoint has no answer left"
            raise LookupError(msg)
        if isinstance(answer, Exception):
            raise answer
        return answer


class Model:
    """Serves one model. Lives as long as its workspace."""

    task = "llm/v1/chat"

    def __init__(self, name: str, model: ChatModel, threads: Callable[[], Executor]) -> None:
        self._name = name
        self._model = model
        self._threads = threads

    @property
    def pool(self) -> Executor | None:
        """Return the threads that it runs in; None for the workspace's threads."""
        return None

    def describe(self) -> dict[str, Any]:
        """Return nothing: the endpoint describes only its name."""
        return {}

    def _run(self, _call: Call, asked: dict[str, Any]) -> Iterator[_Piece]:
        return _pieces(self._model(asked))

    def invoke(self, call: Call, body: dict[str, Any], /) -> Answer:
        """Ask the model. Runs in a thread of the workspace."""
        shape = _shape(self._name, body)

        def pieces() -> Iterator[_Piece]:
            return self._run(call, shape.asked)

        try:
            if body.get("stream"):
                steps = Steps(lambda: shape.events(pieces()), self._threads())
                # The first step makes the first piece. If the model fails at once, that is a refusal, not a broken stream.
                events = self._events(steps.step(), steps)
                return Answer(content=StreamingResponse(events, media_type="text/event-stream"))
            return Answer(content=contextvars.Context().run(lambda: shape.whole(pieces())))
        except Exception as error:
            # Whatever the author's function raises, the endpoint gives a proper answer.
            raise RefusedError("model_error", error=type(error).__name__, detail=str(error)) from error

    async def _events(self, first: dict[str, Any], steps: Steps) -> AsyncIterator[bytes]:
        try:
            yield sse(first)
            async for event in steps:
                yield sse(event)
            yield DONE
        except Exception as error:
            yield sse_error(error)
        finally:
            with contextlib.suppress(RuntimeError):  # the workspace is stopping
                self._threads().submit(steps.close)


class FunctionAgent(Model):
    """Serves a function that acts as whoever asks, with a token of its own scopes. Lives as long as its workspace.

    It calls the workspace while it runs, so it has threads of its own.
    """

    task = "agent/v1/chat"

    def __init__(
        self, name: str, model: ChatModel, *, scopes: Sequence[str], exchange: Exchange, host: Callable[[], str]
    ) -> None:
        self._workers = ThreadPoolExecutor(max_workers=16, thread_name_prefix="obo-kit-agent")
        super().__init__(name, model, lambda: self._workers)
        self._scopes = tuple(scopes)
        self._exchange = exchange
        self._host = host

    @property
    def pool(self) -> Executor | None:
        """Return its own threads."""
        return self._workers

    def describe(self) -> dict[str, Any]:
        """Return its policy."""
        return {"auth_policy": {"user_auth_policy": {"api_scopes": list(self._scopes)}}}

    def close(self) -> None:
        """End its threads."""
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _run(self, call: Call, asked: dict[str, Any]) -> Iterator[_Piece]:
        def answer() -> Iterator[_Piece]:
            yield from super(FunctionAgent, self)._run(call, asked)

        pieces: Iterator[_Piece] = as_user_of(self._exchange(call.user, self._scopes), self._host(), answer)()
        return pieces


# ---------------------------------------------------------------------------------------------- what a model answers


@dataclass(frozen=True, kw_only=True)
class _ToolCall:
    id: str
    name: str
    arguments: str

    def fragments(self) -> list[str]:
        return [self.arguments[start : start + _FRAGMENT] for start in range(0, len(self.arguments), _FRAGMENT)]


_Piece = str | _ToolCall


def _pieces(reply: Any) -> Iterator[_Piece]:
    """Yield a reply piece by piece. Raises TypeError if it is not a reply, and what the author's iterator raises."""
    if isinstance(reply, str):
        yield from re.findall(r"\S+\s*|\s+", reply)
    elif isinstance(reply, Mapping):
        content = reply.get("content") or ""
        if not isinstance(content, str):
            msg = f"the content of an assistant message is text, not {type(content).__name__}"
            raise TypeError(msg)
        yield from _pieces(content)
        for entry in reply.get("tool_calls") or ():
            yield _tool_call(entry)
    elif isinstance(reply, Iterator):
        for piece in reply:
            if isinstance(piece, str):
                yield piece
            else:
                yield from _pieces(piece)
    else:
        msg = f"a model returns text, an assistant message (a dict) or an iterator of both, not {type(reply).__name__}"
        raise TypeError(msg)


def _tool_call(entry: Mapping[str, Any]) -> _ToolCall:
    function = entry["function"]
    arguments = function.get("arguments", "{}")
    return _ToolCall(
        id=str(entry.get("id") or f"call_{uuid.uuid4().hex}"),
        name=str(function["name"]),
        # If JSON cannot hold the arguments, that is the author's mistake, and is reported as one.
        arguments=arguments if isinstance(arguments, str) else json.dumps(arguments),
    )


# ---------------------------------------------------------------------------------------------- the three shapes


class _Shape(Protocol):
    """One protocol: the request, and the forms of its answer."""

    asked: dict[str, Any]

    def whole(self, pieces: Iterator[_Piece], /) -> dict[str, Any]: ...
    def events(self, pieces: Iterator[_Piece], /) -> Iterator[dict[str, Any]]: ...


def _shape(name: str, body: dict[str, Any]) -> _Shape:
    """Return the protocol of a request, by its fields. Raises RefusedError if they are unusable."""
    if body.get("n") not in {None, 1}:
        raise RefusedError("invalid_parameter", detail="The local workspace answers with one choice: n must be 1")
    if "messages" not in body and "prompt" in body:
        prompt = body["prompt"]
        prompt = prompt[0] if isinstance(prompt, list) and len(prompt) == 1 else prompt
        if not isinstance(prompt, str):
            raise RefusedError("invalid_parameter", detail="prompt must be one text")
        return _Completion(name, {**body, "messages": [{"role": "user", "content": prompt}]})
    if "messages" not in body and "input" in body:
        return _Response(name, {**body, "messages": _messages(body), "tools": _tools(body)}, body.get("tools") or [])
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(entry, dict) for entry in messages):
        raise RefusedError("invalid_parameter", detail="messages must be a list of at least one chat message")
    return _Chat(name, body)


def _started(pieces: Iterator[_Piece]) -> Iterator[_Piece]:
    """Return the same pieces, with the first one already made."""
    first = next(pieces, None)
    return pieces if first is None else chain((first,), pieces)


@dataclass(kw_only=True)
class _Gathered:
    """The model's output so far."""

    texts: list[str] = field(default_factory=list)
    calls: list[_ToolCall] = field(default_factory=list)

    def add(self, piece: _Piece) -> None:
        if isinstance(piece, str):
            self.texts.append(piece)
        else:
            self.calls.append(piece)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def finish_reason(self) -> str:
        return "tool_calls" if self.calls else "stop"

    def usage(self, asked: Mapping[str, Any]) -> tuple[int, int]:
        """Return counts of words in place of tokens: a test only needs numbers that grow with the texts."""
        question = sum(len(str(entry.get("content") or "").split()) for entry in asked["messages"])
        return question, len(self.text.split()) + sum(len(call.arguments.split()) for call in self.calls)


def _usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


class _Chat:
    def __init__(self, name: str, asked: dict[str, Any]) -> None:
        self.asked = asked
        self._head = {"id": f"chatcmpl_{uuid.uuid4().hex}", "created": int(time.time()), "model": name}

    def whole(self, pieces: Iterator[_Piece], /) -> dict[str, Any]:
        gathered = _Gathered()
        for piece in pieces:
            gathered.add(piece)
        message: dict[str, Any] = {
            "role": "assistant",
            "content": gathered.text if gathered.texts or not gathered.calls else None,
        }
        if gathered.calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in gathered.calls
            ]
        choice = {"index": 0, "message": message, "finish_reason": gathered.finish_reason}
        usage = _usage(*gathered.usage(self.asked))
        return {**self._head, "object": "chat.completion", "choices": [choice], "usage": usage}

    def events(self, pieces: Iterator[_Piece], /) -> Iterator[dict[str, Any]]:
        gathered = _Gathered()
        pieces = _started(pieces)
        yield self._chunk({"role": "assistant", "content": ""})
        for piece in pieces:
            gathered.add(piece)
            if isinstance(piece, str):
                yield self._chunk({"content": piece})
            else:
                yield from self._call(len(gathered.calls) - 1, piece)
        yield {**self._chunk({}, gathered.finish_reason), "usage": _usage(*gathered.usage(self.asked))}

    def _call(self, index: int, call: _ToolCall) -> Iterator[dict[str, Any]]:
        head = {"index": index, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        yield self._chunk({"tool_calls": [head]})
        for fragment in call.fragments():
            yield self._chunk({"tool_calls": [{"index": index, "function": {"arguments": fragment}}]})

    def _chunk(self, delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice]}


class _Completion:
    def __init__(self, name: str, asked: dict[str, Any]) -> None:
        self.asked = asked
        self._head = {
            "id": f"cmpl_{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": name,
        }

    def whole(self, pieces: Iterator[_Piece], /) -> dict[str, Any]:
        gathered = _Gathered()
        for piece in pieces:
            gathered.add(piece)
        return {**self._choice(gathered.text, "stop"), "usage": _usage(*gathered.usage(self.asked))}

    def events(self, pieces: Iterator[_Piece], /) -> Iterator[dict[str, Any]]:
        gathered = _Gathered()
        for piece in _started(pieces):
            gathered.add(piece)
            if isinstance(piece, str):
                yield self._choice(piece, None)
        yield {**self._choice("", "stop"), "usage": _usage(*gathered.usage(self.asked))}

    def _choice(self, text: str, finish: str | None) -> dict[str, Any]:
        return {**self._head, "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": finish}]}


class _Response:
    def __init__(self, name: str, asked: dict[str, Any], tools: list[Any]) -> None:
        self.asked = asked
        self._name = name
        self._tools = tools
        self._said = _Gathered()
        self._id = f"resp_{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._output: list[dict[str, Any]] = []

    def whole(self, pieces: Iterator[_Piece], /) -> dict[str, Any]:
        for _ in self._items(pieces):
            pass
        return self._body("completed")

    def events(self, pieces: Iterator[_Piece], /) -> Iterator[dict[str, Any]]:
        pieces = _started(pieces)
        for number, event in enumerate(self._all_events(pieces)):
            yield {**event, "sequence_number": number}

    def _all_events(self, pieces: Iterator[_Piece]) -> Iterator[dict[str, Any]]:
        yield {"type": "response.created", "response": self._body("in_progress")}
        yield from self._items(pieces)
        yield {"type": "response.completed", "response": self._body("completed")}

    def _items(self, pieces: Iterator[_Piece]) -> Iterator[dict[str, Any]]:
        """Yield the events of the output items, and keep the items."""
        open_text: list[str] = []
        for piece in pieces:
            self._said.add(piece)
            if isinstance(piece, str):
                if not open_text:
                    yield from self._open_message()
                open_text.append(piece)
                yield self._delta(piece)
            else:
                yield from self._close_message(open_text)
                open_text = []
                yield from self._call(piece)
        yield from self._close_message(open_text)

    def _open_message(self) -> Iterator[dict[str, Any]]:
        item = {"type": "message", "id": f"msg_{uuid.uuid4().hex}", "role": "assistant", "status": "in_progress"}
        self._output.append({**item, "content": []})
        yield {"type": "response.output_item.added", "output_index": self._last, "item": self._output[-1]}
        yield {"type": "response.content_part.added", **self._where(), "part": _part("")}

    def _delta(self, text: str) -> dict[str, Any]:
        return {"type": "response.output_text.delta", **self._where(), "delta": text, "logprobs": []}

    def _close_message(self, texts: Sequence[str]) -> Iterator[dict[str, Any]]:
        if texts:
            text = "".join(texts)
            self._output[-1] = {**self._output[-1], "status": "completed", "content": [_part(text)]}
            yield {"type": "response.output_text.done", **self._where(), "text": text, "logprobs": []}
            yield {"type": "response.content_part.done", **self._where(), "part": _part(text)}
            yield {"type": "response.output_item.done", "output_index": self._last, "item": self._output[-1]}

    def _call(self, call: _ToolCall) -> Iterator[dict[str, Any]]:
        item = {"type": "function_call", "id": f"fc_{uuid.uuid4().hex}", "call_id": call.id, "name": call.name}
        self._output.append({**item, "arguments": call.arguments, "status": "completed"})
        where = {"item_id": item["id"], "output_index": self._last}
        begun = {**item, "arguments": "", "status": "in_progress"}
        yield {"type": "response.output_item.added", "output_index": self._last, "item": begun}
        for fragment in call.fragments():
            yield {"type": "response.function_call_arguments.delta", **where, "delta": fragment}
        done = {"name": call.name, "arguments": call.arguments}
        yield {"type": "response.function_call_arguments.done", **where, **done}
        yield {"type": "response.output_item.done", "output_index": self._last, "item": self._output[-1]}

    @property
    def _last(self) -> int:
        return len(self._output) - 1

    def _where(self) -> dict[str, Any]:
        return {"item_id": self._output[-1]["id"], "output_index": self._last, "content_index": 0}

    def _body(self, status: str) -> dict[str, Any]:
        usage = None
        if status == "completed":
            asked, answered = self._said.usage(self.asked)
            usage = {
                "input_tokens": asked,
                "output_tokens": answered,
                "total_tokens": asked + answered,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens_details": {"reasoning_tokens": 0},
            }
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "model": self._name,
            "output": list(self._output),
            "error": None,
            "incomplete_details": None,
            "instructions": self.asked.get("instructions"),
            "metadata": {},
            "parallel_tool_calls": True,
            "tool_choice": self.asked.get("tool_choice") or "auto",
            "tools": self._tools,
            "usage": usage,
        }


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": []}


def _messages(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the chat messages that the input of a responses request stands for."""
    items = body["input"]
    items = [{"role": "user", "content": items}] if isinstance(items, str) else items
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise RefusedError("invalid_parameter", detail="input must be a text, or a list of at least one item")
    messages = [{"role": "system", "content": body["instructions"]}] if body.get("instructions") else []
    return messages + [message for item in items if (message := _message(item)) is not None]


def _message(item: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return one message; None for items that have no place in a chat (reasoning and the like)."""
    kind = item.get("type") or "message"
    if kind == "message":
        content = item.get("content")
        if isinstance(content, list):
            content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
        return {"role": item.get("role"), "content": content}
    if kind == "function_call":
        function = {"name": item.get("name"), "arguments": item.get("arguments")}
        call = {"id": item.get("call_id"), "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}
    if kind == "function_call_output":
        return {"role": "tool", "tool_call_id": item.get("call_id"), "content": item.get("output")}
    return None


def _tools(body: Mapping[str, Any]) -> list[Any]:
    """Return the tools of a responses request, nested as in a chat request."""
    tools = body.get("tools") or []
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise RefusedError("invalid_parameter", detail="tools must be a list of objects")
    return [
        {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}
        if tool.get("type") == "function"
        else tool
        for tool in tools
    ]
