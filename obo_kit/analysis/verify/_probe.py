"""One request of the list: what it is, and why it is safe to send."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote, urlencode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from obo_kit.scopes._recording import Case

__all__ = ["ABSENT", "ABSENT_ID", "SAFE", "Probe", "get", "post"]

ABSENT: Final = "obo_kit_verify_absent"
"""The name of what no workspace has."""
ABSENT_ID: Final = "00000000-0000-4000-8000-0b00b00b00b0"
"""The same as an id."""

Safe = Literal["reads", "absent", "unreadable", "incomplete", "refused", "narrows", "statement"]
SAFE: Final[Mapping[Safe, str]] = {
    "reads": "It reads.",
    "absent": f"It names what does not exist ({ABSENT}), so that there is nothing it could act on.",
    "unreadable": "Its body is no JSON, or no call, so that there is nothing it could mean.",
    "incomplete": "Its body lacks what it would need to act.",
    "refused": "Its credentials are made up, so that nobody is signed in.",
    "narrows": "It exchanges your token for one that may do less. That one is kept nowhere, and ends by itself.",
    "statement": "A statement that reads no table, on the warehouse that you name; the warehouse may start for it.",
}
"""Why a request of the list changes nothing. A POST needs another reason than ``reads``, unless its API only reads by POST."""

Body = Literal["json", "form", "text"]
_FIELD: Final = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One request of the list.

    Attributes:
        method: GET or POST.
        path: The path as a template: ``{absent}``, ``{absent_id}``; ``{name}`` for what the developer names, and
            ``{volume}`` for the same as a path.
        safe: Why it changes nothing; see `SAFE`.
        case: What it provokes, where the token carries the scopes; a `Case`.
        query: The query.
        content: The body, as it is sent.
        content_type: Its media type.
        token: Whose token it is sent with: the one that the plan chooses, none, or one that is made up.
    """

    method: Literal["GET", "POST"]
    path: str
    safe: Safe
    case: Case = "absent"
    query: tuple[tuple[str, str], ...] = ()
    content: str = ""
    content_type: str = ""
    token: Literal["chosen", "none", "made_up", "expired"] = "chosen"  # noqa: S105  no password
    name: str = ""

    def __post_init__(self) -> None:
        if self.method not in ("GET", "POST"):
            raise ValueError(f"A probe is a GET or a POST, not a {self.method}")
        if self.method == "GET" and (self.safe != "reads" or self.content):
            raise ValueError("A GET reads, and has no body")
        if unknown := set(_FIELD.findall(self.path)) - {"absent", "absent_id", "name", "volume"}:
            raise ValueError(f"There is no field {unknown}")

    @property
    def request(self) -> str:
        """Return the method and the template of the path, as a recording has them."""
        return f"{self.method} {self.path.replace('{absent_id}', '{id}').replace('{absent}', '{name}')}"

    @property
    def needs_name(self) -> bool:
        """Return whether the developer has to name something first."""
        return any(field in self.path + self.content for field in ("{name}", "{volume}"))

    def of(self, name: str) -> Probe:
        """Return the request for what the developer names."""
        return replace(self, name=name)

    @property
    def target(self) -> str:
        """Return the path and the query, as they are sent."""
        fields = {"absent": ABSENT, "absent_id": ABSENT_ID, "name": quote(self.name, safe="")}
        fields["volume"] = "/".join(quote(part, safe="") for part in self.name.split("."))
        path = _FIELD.sub(lambda found: fields[found[1]], self.path)
        return f"{path}?{urlencode(self.query)}" if self.query else path

    @property
    def body(self) -> bytes:
        """Return the body, as it is sent."""
        return self.content.replace("{name}", json.dumps(self.name)[1:-1]).encode() if self.content else b""

    @property
    def key(self) -> tuple[str, str, bytes, str]:
        """Tell one request of the list from another."""
        return self.method, self.target, self.body, self.token


def get(path: str, *, case: Case = "absent", query: Mapping[str, str] | None = None, **more: Any) -> Probe:
    """Return a GET of the list."""
    return Probe(method="GET", path=path, safe="reads", case=case, query=tuple((query or {}).items()), **more)


def post(path: str, body: Any, safe: Safe, case: Case = "absent", form: Body = "json", **more: Any) -> Probe:
    """Return a POST of the list."""
    written: Mapping[Body, Callable[[Any], str]] = {"json": json.dumps, "form": urlencode, "text": str}
    content = written[form](body)
    kind = {"json": "application/json", "form": "application/x-www-form-urlencoded", "text": "application/json"}[form]
    return Probe(method="POST", path=path, safe=safe, case=case, content=content, content_type=kind, **more)
