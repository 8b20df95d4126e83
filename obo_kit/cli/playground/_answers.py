"""Extract the text from agents' answers, whole or in steps, whatever form they have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

__all__ = ["redacted", "request_of", "text_lines", "text_of"]

_TOKEN: Final = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*")


def redacted(text: str) -> str:
    """Return a text without the tokens in it: an agent may answer with its user's token."""
    return _TOKEN.sub("[token]", text)


def request_of(question: str, *, chat: bool = False) -> dict[str, Any]:
    """Return the request to an agent: the question as a message, or the JSON object that it is written as."""
    if question.lstrip().startswith("{"):
        try:
            body = json.loads(question)
        except ValueError:
            pass
        else:
            if isinstance(body, dict):
                return body
    message = {"role": "user", "content": question}
    return {"messages" if chat else "input": [message]}


def text_lines(events: Iterable[Any]) -> Iterator[dict[str, str]]:
    """Yield ``{"type": "delta", "text": …}`` for each step, and ``{"type": "answer", …}`` for a whole answer."""
    streamed = False
    for event in events:
        delta = _delta(event)
        if delta is not None:
            streamed = True
            yield {"type": "delta", "text": delta}
        elif not streamed and (text := text_of(event)):
            yield {"type": "answer", "text": text}
        elif _is_step(event) and event.get("type") == "response.output_item.done":
            streamed = False  # the next item may come whole


def text_of(answer: Any) -> str:
    """Return the text of a whole answer; JSON if there is no text in it."""
    if isinstance(answer, str):
        return answer
    if not isinstance(answer, Mapping):
        return json.dumps(answer, default=str)
    if _is_step(answer):
        item = answer.get("item")
        return _item(item) if isinstance(item, Mapping) and item.get("type") == "message" else ""
    if isinstance(answer.get("output"), list):
        return "\n".join(filter(None, map(_item, answer["output"])))
    for name in ("messages", "choices"):
        if isinstance(answer.get(name), list) and answer[name]:
            last = answer[name][-1]
            return str((last.get("message") or last).get("content") or "")
    for name in ("answer", "text", "content", "predictions"):
        if isinstance(answer.get(name), str):
            return str(answer[name])
    return json.dumps(answer, indent=2, default=str)


def _is_step(event: Any) -> bool:
    return isinstance(event, Mapping) and str(event.get("type", "")).startswith("response.")


def _delta(event: Any) -> str | None:
    """Return the text of one step; None if the event is not a step of a text."""
    if not isinstance(event, Mapping):
        return None
    delta = event.get("delta")
    if isinstance(delta, str) and event.get("type") == "response.output_text.delta":
        return delta
    if isinstance(event.get("choices"), list) and event["choices"]:
        delta = event["choices"][0].get("delta")
    return str(delta.get("content") or "") if isinstance(delta, Mapping) else None


def _item(item: Any) -> str:
    content = item.get("content") if isinstance(item, Mapping) else None
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text") or "") for part in content or () if isinstance(part, Mapping))
