"""Split the paths of the workspace's APIs as a server does."""

from __future__ import annotations

from urllib.parse import unquote

__all__: list[str] = []


def segments_of(path: str, *, decode: bool = False) -> tuple[str, ...]:
    """Return the path as a server would resolve it, in lower case, so that no spelling of a path escapes its route.

    Args:
        path: The path of a URL.
        decode: Whether to read a percent-encoded slash as a slash. Servers differ.
    """
    path = path.partition("?")[0].partition("#")[0]
    if "%" in path and decode:
        path = _decoded(path)
    segments: list[str] = []
    for raw in path.replace("\\", "/").split("/"):
        segment = _decoded(raw) if "%" in raw else raw
        segment = segment.partition(";")[0].strip("\0\t\r\n ").lower()
        if segment == "..":
            del segments[-1:]
        elif segment not in {"", "."}:
            segments.append(segment)
    return tuple(segments)


def _decoded(text: str) -> str:
    """Return a text without percent-encoding, however often it was encoded."""
    for _ in range(4):
        text, before = unquote(text), text
        if text == before:
            break
    return text


def fits(template: str, segment: str) -> bool:
    """Check whether a path segment matches its part of a template: the same text, or ``{a name}`` and an ending."""
    if not template.startswith("{"):
        return template == segment
    return segment.endswith(template.partition("}")[2])
