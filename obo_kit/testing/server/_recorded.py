"""Answer in the words and forms of a recording, filled in with the names of this workspace."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from obo_kit.testing._kit import observed_groups, routes_of
from obo_kit.testing._refusals import Refusal, RefusedError
from obo_kit.testing.server._scopes import Ask

if TYPE_CHECKING:
    from obo_kit.testing._kit import Groups, ObservedRoute, RecordedAnswer, RecordedDetail, Recording
    from obo_kit.testing.iam._directory import Caller

__all__ = ["Recorded", "RecordedSpeaker"]

# The case of a recording for each decision of the local workspace.
_CASES: Mapping[str, str] = {
    "expired token": "expired",
    "invalid token": "invalid_token",
    "login required": "login_required",
    "missing grant": "no_permission",
    "missing scope": "missing_scope",
    "no credential": "no_credential",
    "not found": "absent",
}
# Headers that every answer has, or that only say how it is sent.
_OF_THE_SERVER = frozenset({"content-type", "server", "strict-transport-security", "x-content-type-options"})
_PLACEHOLDER = re.compile(
    r"(?P<request>\b(?:ReqId|RequestId|request[ _-]?id|trace[ _-]?id):? ?)<(?:id|number|name)>"
    r"|(?P<scopes><scope:[^<>]+>(?:(?:, ?| and )<scope:[^<>]+>)*)"
    r"|<(?P<kind>name|id|host|mail|number)>",
    re.IGNORECASE,
)
_SCOPE = re.compile(r"<scope:([^<>]+)>")
_NO_API = "no_api"
_MISSING_SCOPE = "missing_scope"
_QUOTED = re.compile(r"['\"`]([^'\"]+)['\"`]")


class Recorded:
    """A recording that is ready for look-ups. Lives as long as its workspace; immutable.

    Args:
        recording: The recording.
        workspace_id: The number of the workspace.
    """

    def __init__(self, recording: Recording, workspace_id: str) -> None:
        self.recording = recording
        self.workspace_id = workspace_id
        self._routes = routes_of(recording)
        self._refusals: dict[str, RecordedAnswer] = {}
        for answer in recording.answers:
            kind, _, key = answer.claim.partition(":")
            if kind == "refusal":
                self._refusals.setdefault(key, answer)

    def speaker(self, method: str, path: str, host: str) -> RecordedSpeaker:
        """Return the object that words the refusals of a request."""
        route = self._routes.find(method, path)
        known = self._routes.known_groups(route) if route is not None else ()
        return RecordedSpeaker(recorded=self, route=route, known=known, path=path, host=host)

    def refusal(self, key: str) -> RecordedAnswer | None:
        """Return the recorded answer of one of the workspace's own refusals."""
        return self._refusals.get(key)

    def is_on(self, answer: RecordedAnswer, route: ObservedRoute | None) -> bool:
        """Return whether an answer was recorded on a route."""
        method, _, path = answer.request.partition(" ")
        return route is not None and self._routes.find(method, path) is route

    def is_of_another(self, answer: RecordedAnswer, key: str) -> bool:
        """Return whether an answer is what was recorded of another refusal, and not of this one."""
        own = self._refusals.get(key)
        words = (answer.status, answer.code, answer.wording)
        return (
            own is not None
            and words != (own.status, own.code, own.wording)
            and any(words == (other.status, other.code, other.wording) for other in self._refusals.values())
        )


@dataclass(kw_only=True)
class RecordedSpeaker:
    """Words the refusals of one request. Lives as long as the request.

    Attributes:
        recorded: The recording.
        route: What it shows about the route; None if it shows nothing.
        known: The scopes that the catalogue has for the route, for routes that the local workspace does not know.
        path: The path.
        host: Host and port of this workspace.
        caller: The caller, as far as they are known.
        used: Whether an answer was the recording's.
    """

    recorded: Recorded
    route: ObservedRoute | None
    known: Groups
    path: str
    host: str
    caller: Caller | None = None
    used: bool = False
    _asked: Ask | None = None

    def asks(self, known: Ask | None) -> Ask | None:
        """Return the scopes that the route asks for: as recorded, else as known."""
        if self.route is None:
            return known
        if self._of_case(_NO_API) and not self._of_case(_MISSING_SCOPE):
            return None  # a route that does not exist asks for nothing
        if not self.route.says_scopes:
            return known
        groups = observed_groups(known.groups if known is not None else self.known, self.route)
        self._asked = Ask(
            groups=groups,
            standing="observed",
            source=f"recording of {self.recorded.recording.recorded}",
            all_apis=(known is None or known.all_apis) and "all-apis" not in self.route.shut,
            words=known.words if known is not None else "json",
        )
        return self._asked

    def check_served(self, method: str) -> None:
        """Raise RefusedError if the recorded workspace has no such route."""
        if self._of_case(_NO_API):
            raise RefusedError("no_such_api", method=method, path=self.path)

    def shape(self) -> RecordedAnswer | None:
        """Return how the workspace answered a call that the local workspace does not serve; None if it was not seen to."""
        answer = next((answer for answer in self._of_case("allowed") if answer.status < 300), None)
        self.used = self.used or answer is not None
        return answer

    def refusal(
        self, key: str, declared: Refusal, fields: Mapping[str, str], missing: tuple[str, ...]
    ) -> tuple[Refusal, str] | None:
        """Return a refusal as it was recorded; None if it was not.

        The workspace's answer for the same refusal on this route counts first, then another one on this route, then that for
        the same refusal on another route. A refusal
        that travels as data has no route: the route has let the request in.
        """
        own = self.recorded.refusal(key)
        if own is not None and not missing and self.recorded.is_on(own, self.route):
            of_route: RecordedAnswer | None = own
        else:
            of_route = self._of_route(key, declared, missing)
        answer = of_route or own
        if answer is None:
            return None
        self.used = True
        filling = _Filling(self, declared, fields, missing if of_route is None else ())
        # What is wrong with a request, the words of another one would not say.
        of_request = "{detail}" in declared.text and declared.decision == "bad request"
        text = _filled(declared, fields) if of_request else filling.text(answer.wording)
        return _as_recorded(declared, answer, text, filling), text

    def _of_route(self, key: str, declared: Refusal, missing: tuple[str, ...]) -> RecordedAnswer | None:
        if declared.status == 200:
            return None
        absent = self._of_case(_NO_API) if key == "no_such_api" else ()
        answers = absent or self._of_case(_CASES.get(declared.decision, ""))
        if missing:
            # A route may word it otherwise for a token that lacks something else.
            asked = self._asked
            alike = [answer for answer in answers if asked and asked.missing(frozenset(answer.scopes or ())) == missing]
            return next(iter((*alike, *answers)), None)
        return next((answer for answer in answers if not self.recorded.is_of_another(answer, key)), None)

    def _of_case(self, case: str) -> tuple[RecordedAnswer, ...]:
        return self.route.of_case(case) if self.route is not None else ()


def _filled(declared: Refusal, fields: Mapping[str, str]) -> str:
    return declared.text.format_map({"request": str(uuid.uuid4()), **fields})


def _as_recorded(declared: Refusal, answer: RecordedAnswer, text: str, filling: _Filling) -> Refusal:
    code = _code(answer.code, declared.code)
    if declared.status == 200:  # sent as data: its headers and form belong to the answer around it
        return replace(declared, code=code, standing="observed")
    return replace(
        declared,
        status=answer.status,
        code=code,
        standing="observed",
        form="text" if answer.form == "other" else answer.form,
        content_type=answer.content_type,
        headers={name: _header(name, text) for name in answer.headers if name not in _OF_THE_SERVER},
        details=tuple(map(filling.detail, answer.details)),
    )


def _code(recorded: str | None, declared: str | int) -> str | int:
    """Return the code as the platform sends it; a number if it is one."""
    if recorded is None or recorded == "<name>":
        return declared
    return int(recorded) if recorded.isdecimal() else recorded


def _header(name: str, text: str) -> str:
    """Return a value for a header that was recorded only by its name."""
    match name:
        case "x-databricks-reason-phrase":
            return text.partition("\n")[0].encode("latin-1", "replace").decode("latin-1")
        case "retry-after":
            return "1"
        case "www-authenticate":
            return 'Bearer realm="DatabricksRealm"'
    return str(uuid.uuid4()) if name.endswith("-id") else "1"


class _Filling:
    """Fills placeholders with the names of this workspace and of one refusal."""

    def __init__(
        self, speaker: RecordedSpeaker, declared: Refusal, fields: Mapping[str, str], missing: tuple[str, ...]
    ) -> None:
        self._missing = missing
        self._user_id = fields.get("user_id") or (speaker.caller.principal.id if speaker.caller else "")
        self._workspace_id = speaker.recorded.workspace_id
        self._host = speaker.host
        self._mail = speaker.caller.principal.user_name if speaker.caller else "somebody@example.com"
        self._names = _names(declared, fields) or [part for part in speaker.path.split("/") if part][-1:]
        self._ids = [fields["user_id"]] if "user_id" in fields else self._names

    def text(self, words: str) -> str:
        """Return a text without placeholders. Each name fills the next placeholder, and the last one all further ones."""
        names = iter(self._names)
        last = ""

        def fill(match: re.Match[str]) -> str:
            nonlocal last
            if match["request"]:
                return match["request"] + str(uuid.uuid4())
            if match["scopes"]:
                return ", ".join(self._missing) or _SCOPE.sub(r"\1", match["scopes"])
            match match["kind"].lower():
                case "name":
                    last = next(names, last)
                    return last
                case "id":
                    return next(iter(self._ids), "")
                case "number":
                    return self._number()
                case "host":
                    return self._host
            return self._mail

        return _PLACEHOLDER.sub(fill, words)

    def detail(self, recorded: RecordedDetail) -> Mapping[str, Any]:
        """Return an entry of ``details``: by its type, with the recorded keys."""
        entry: dict[str, Any] = {"@type": f"type.googleapis.com/google.rpc.{recorded.type}"}
        if recorded.type == "RequestInfo":
            return entry | {"request_id": str(uuid.uuid4()), "serving_data": ""}
        if recorded.reason is not None:
            entry["reason"] = self.text(recorded.reason)
        if recorded.domain is not None:
            entry["domain"] = self.text(recorded.domain)
        if recorded.keys:
            entry["metadata"] = {self.text(key): self._meant(key) for key in recorded.keys}
        return entry

    def _meant(self, key: str) -> str:
        """Return the value for a key of the metadata."""
        if "scope" in key.lower():
            return ", ".join(self._missing)
        return next(iter(self._names), "") if re.search("name|resource|securable", key, re.IGNORECASE) else ""

    def _number(self) -> str:
        numbers: Callable[[str], bool] = str.isdecimal
        return next(filter(numbers, [*self._ids, *self._names, self._user_id]), self._workspace_id)


def _names(declared: Refusal, fields: Mapping[str, str]) -> list[str]:
    """Return the names that a refusal is about: its field for them, else what its own words put in quotation marks."""
    for field in ("name", "names"):
        if field in fields:
            return [fields[field].replace("`", "")]
    quoted = _QUOTED.findall(_filled(declared, fields))
    return quoted or [text for name, text in fields.items() if text and name not in ("detail", "scopes")]
