"""Read a refusal from an exception: each client leaves other traces of it (rule 16)."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from obo_kit import exceptions as errors
from obo_kit._upstream import classes
from obo_kit._upstream.answers import code_of, details_of, read_answer
from obo_kit._upstream.classes import is_a, package_of
from obo_kit._upstream.errors import MAX_DEPTH, kept_of, leaves_of, status_of
from obo_kit._upstream.foreign_texts import CONNECTIONS
from obo_kit._upstream.lost_texts import (
    AGENTS_STATUS,
    BRIDGE_NO_USER,
    GENIE_FAILED,
    HTTP_STATUS,
    MLFLOW_STATUS,
    SDK_NO_MESSAGE,
)
from obo_kit._upstream.texts import is_login, matchable
from obo_kit._utils.plain import plain
from obo_kit.context._calls import Evidence, Refusal
from obo_kit.denials._classify import REDIRECTS, Finding, classify, says_why
from obo_kit.exceptions import DenialReason

if TYPE_CHECKING:
    from obo_kit._upstream.answers import Details

__all__: list[str] = []

_R = DenialReason
# The SDK's errors carry no status. The error code decides their class before the status does.
_SDK_STATUS = {"Unauthenticated": 401, "PermissionDenied": 403, "NotFound": 404, "BadRequest": 400}
_PLATFORM_CODE = re.compile(r"[A-Z][A-Z_]{1,80}|\d{3}")
_CLIENT_ID = re.compile(r"\bclient_id=([\w\-]{1,64})")
# The SDK appends this to a refusal. It names the host and the client id.
CONFIG_TAIL = re.compile(r"\.? ?(?:Config: \w{1,40}=|Env: [A-Z_]{1,80}).*\Z", re.DOTALL)
# The SDK quotes a request like this if it cannot read the answer.
_QUOTED_REQUEST = re.compile(r"```\s{0,4}(GET|HEAD|POST|PUT|PATCH|DELETE) (/\S{1,500})")
_QUOTED_JSON = "\n< {"  # in the answer that it quotes below the request
_MAX_WORDS = 8000  # characters of an exception's text: the SDK quotes whole answers
_MAX_LEAVES = 200
GENIE = "/api/2.0/genie/"
_MCP = "/api/2.0/mcp/"
_API = ("/api/1.", "/api/2.", "/api/3.")
_OURS = (_MCP, "/serving-endpoints/", "/ai-gateway/")
# Servers that pass on the platform's words. Others (functions, external servers) pass on the words of the tool's author.
OWN_MCP = tuple(f"{_MCP}{name}" for name in ("genie", "ai-search", "vector-search", "sql"))


@dataclass(slots=True)
class Scene:
    """The facts that help to explain a refusal.

    Attributes:
        evidence: What the kit's clients saw on the wire.
        host: The session's workspace; empty if it is not known.
        leaves: How many more exceptions may be examined.
    """

    evidence: Evidence = field(default_factory=Evidence)
    host: str = ""
    leaves: int = _MAX_LEAVES

    @property
    def seen(self) -> Sequence[Refusal]:
        """Return the refusals on the wire, in order."""
        return self.evidence.refusals

    def is_own(self, url: str) -> bool:
        """Check whether an answer came from the session's workspace, as far as that is known."""
        return not self.host or not url or url.startswith(f"{self.host}/")

    def speaks_for_itself(self) -> bool:
        """Check whether the MCP server that was called last passes on the platform's words."""
        return (self.evidence.mcp_path or "").startswith(OWN_MCP)


def _machine_of(text: str) -> str | None:
    """Return the client id of the machine whose credentials a client of the SDK used.

    The SDK says it at the end of its errors 401 and 403. A session's client has no client id: what says one was built beside
    the kit, and acts as the agent itself.
    """
    machine = _CLIENT_ID.search(text.rpartition("Config: ")[2]) if "Config: " in text else None
    return machine[1] if machine is not None else None


def without_config(text: str) -> str:
    """Return a text without the part that the SDK appends."""
    return CONFIG_TAIL.sub("", text) if "Config: " in text or "Env: " in text else text


def of_exception(error: BaseException, scene: Scene, depth: int = 0) -> Finding | None:
    """Return the refusal that an exception stands for; `None` if it is not a refusal."""
    scene.leaves -= 1
    if depth > MAX_DEPTH or scene.leaves < 0:
        return None
    if isinstance(error, errors.OboError):
        return _of_own(error)
    for read in _READERS:
        result = read(error, scene)
        if result is not None:
            return result if isinstance(result, Finding) else classify(result)
    leaves = leaves_of(error)
    if not leaves:
        return of_exception(error.__cause__, scene, depth + 1) if error.__cause__ is not None else None
    findings: list[Finding] = []
    for leaf in leaves:  # all of them must be refusals, so the first that is not ends the search
        finding = of_exception(leaf, scene, depth + 1) if leaf is not None else None
        if finding is None:
            return None
        findings.append(finding)
    return findings[0]


_OWN: tuple[tuple[type[errors.OboError], DenialReason], ...] = (
    (errors.NoUserIdentityError, _R.NO_IDENTITY),
    (errors.TokenExpiredError, _R.TOKEN_EXPIRED),
    (errors.MissingScopeError, _R.MISSING_SCOPE),
    (errors.ScopeViolationError, _R.SCOPE_VIOLATION),
)


def _of_own(error: errors.OboError) -> Finding | None:
    if isinstance(error, errors.AccessDeniedError):
        denial = error.denial
        return Finding(
            reason=denial.reason,
            refusal=Refusal(status=denial.status, error_code=denial.error_code, text=denial.detail),
            name=denial.resource,
            remedy=denial.remedy,
        )
    for kind, reason in _OWN:
        if isinstance(error, kind):
            scopes = tuple(getattr(error, "scopes", ()))
            return Finding(
                reason=reason, refusal=Refusal(status=None, text=error.message), scopes=scopes, remedy=error.remedy
            )
    return None  # a mistake in the program, not a refusal


_POSTGRES = ("psycopg", "psycopg2", "asyncpg", "psycopg_pool")
_PG_OBJECT = re.compile(r"permission denied for (?P<what>[a-z ]{1,30}?) (?P<name>[\w.\"$-]{1,128})")
_PG_SIGN_IN = re.compile(
    r"password authentication failed|failed to decode token for role|token (?:has |is )?(?:expired|invalid)"
    r"|invalid (?:access )?token",
    re.I,
)
_PG_HBA = "no pg_hba.conf entry for"
_PG_ROLE = re.compile(r"role \"?(?P<name>[^\"\s]{1,256})\"? does not exist")
_PG_GRANT = (
    "Ask the owner of {what} to grant the missing privileges to the user's Postgres role. Lakebase has grants of its own: "
    "those of Unity Catalog do not apply."
)
_PG_NEW_ROLE = "Ask the owner of the Lakebase database to create a Postgres role for the user."


def _of_postgres(error: BaseException, scene: Scene) -> Finding | None:
    """Read Lakebase's refusal from a Postgres client's error, by its SQLSTATE; by its text if no statement was reached."""
    del scene
    if package_of(error) not in _POSTGRES:
        return None
    state = str(getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or "")
    text = str(error)[:_MAX_WORDS]
    words, refusal = matchable(text), Refusal(status=None, error_code=state or None, text=text)
    if not state and (finding := _of_gateway(refusal)) is not None:
        return finding
    if role := _PG_ROLE.search(words):
        return _of_role(refusal, role["name"]) if state in ("", "28000") else None
    if state == "42501" or (not state and words.lower().startswith("permission denied for ")):
        return _of_grant(refusal, _PG_OBJECT.search(words))
    if _is_sign_in(state, words):
        return Finding(reason=_R.TOKEN_EXPIRED, refusal=refusal)
    return None


def _is_sign_in(state: str, words: str) -> bool:
    if _PG_HBA in words:
        return False  # how the client connects, and nothing of the user's
    return state in ("28000", "28P01") or (not state and _PG_SIGN_IN.search(words) is not None)


def _of_gateway(refusal: Refusal) -> Finding | None:
    """Read the refusal of a connection that the workspace's network stopped before Postgres saw it."""
    finding = classify(replace(refusal, status=403))
    return replace(finding, refusal=refusal) if finding is not None and finding.reason is _R.POLICY else None


def _of_role(refusal: Refusal, name: str) -> Finding:
    return Finding(
        reason=_R.ACCESS_DENIED, refusal=refusal, kind="lakebase", what="role", name=name, remedy=_PG_NEW_ROLE
    )


def _of_grant(refusal: Refusal, match: re.Match[str] | None) -> Finding:
    what, name = "the Postgres object", None
    if match is not None:
        what, name = f"the Postgres {match['what']} '{match['name']}'", match["name"].strip('"')
    remedy = _PG_GRANT.replace("{what}", what)
    return Finding(reason=_R.ACCESS_DENIED, refusal=refusal, kind="lakebase", name=name, remedy=remedy)


_NO_USER_REMEDY = (
    "Call the agent as a signed-in user. If the user is signed in, log the model with its policy (obo_kit.log_model), and "
    "build clients inside the request (with_user_client)."
)


def _of_bridge(error: BaseException, scene: Scene) -> Finding | None:
    """Read the plain exception with which the bridge says that it found no user token in Model Serving."""
    del scene
    if type(error) not in (ValueError, RuntimeError):
        return None
    text = str(error)[:_MAX_WORDS]
    if BRIDGE_NO_USER.pattern.search(text) is None:
        return None
    return Finding(reason=_R.NO_IDENTITY, refusal=Refusal(status=None, text=text), remedy=_NO_USER_REMEDY)


def _from_sdk(error: BaseException, scene: Scene) -> Refusal | None:
    if not is_a(error, classes.SDK_ERROR):
        return None
    words, code = str(error), code_of(getattr(error, "error_code", None))
    kind: Any = type(error)
    text, status = without_config(words[:_MAX_WORDS]), _sdk_status(kind)
    if SDK_NO_MESSAGE.pattern.match(text):
        text = ""
    machine = _machine_of(words[-_MAX_WORDS:]) if status in (401, 403) else None
    seen = _seen(scene.seen, code=code, text=text) if machine is None else None
    if seen is not None:
        return seen
    if text and _passes_another_s_answer(error) and not _PLATFORM_CODE.fullmatch(code or ""):
        return Refusal(status=status, text=text, path=CONNECTIONS, form="other", machine=machine)
    request = _QUOTED_REQUEST.search(text[:_MAX_WORDS]) if code is None else None
    return Refusal(
        status=status,
        error_code=code,
        text=text,
        details=_sdk_details(error),
        machine=machine,
        method=request[1] if request is not None else None,
        path=urlsplit(request[2]).path if request is not None else None,
        form="other" if request is not None and _QUOTED_JSON in text else "platform",
    )


def _passes_another_s_answer(error: BaseException) -> bool:
    """Check whether the SDK read the answer of a connection's service as if it were the platform's."""
    return _went_through(error, "http_request", "databricks.sdk.") and _QUOTED_REQUEST.search(str(error)) is None


@functools.lru_cache(maxsize=64)
def _sdk_status(kind: type) -> int | None:
    """Return the status that a class stands for. The error code decided the class, so it proves no status: the wire does."""
    return next((_SDK_STATUS[base.__name__] for base in kind.__mro__ if base.__name__ in _SDK_STATUS), None)


def _sdk_details(error: Any) -> Details | None:
    read = getattr(error, "get_error_details", None)
    details = read() if callable(read) else None
    entries: list[dict[str, Any]] = []
    for kind, name in (("ErrorInfo", "error_info"), ("ResourceInfo", "resource_info")):
        entry = getattr(details, name, None)
        if entry is not None and hasattr(entry, "__dict__"):
            entries.append({"@type": f"google.rpc.{kind}", **vars(entry)})
    return details_of(entries)


def _from_sql_connector(error: BaseException, scene: Scene) -> Refusal | None:
    """Read databricks-sql-connector's error: for a refused request, or for a statement that was accepted and then failed."""
    del scene
    if not is_a(error, classes.SQL_ERROR):
        return None
    context = getattr(error, "context", None)
    context = context if isinstance(context, dict) else {}
    text = str(context.get("error-message") or getattr(error, "message", None) or "")[:_MAX_WORDS]
    if not is_a(error, classes.SQL_REQUEST_ERROR):
        return Refusal(status=200, text=text, path=STATEMENTS)
    status = context.get("http-code")
    if not isinstance(status, int):
        match = HTTP_STATUS.pattern.search(text)
        status = int(match[1]) if match is not None else None
    refusal = Refusal(status=status, text=text)
    if status is None and says_why(replace(refusal, status=403)):
        return replace(refusal, status=403)
    return refusal


STATEMENTS = "/api/2.0/sql/statements"


def _from_spark(error: BaseException, scene: Scene) -> Refusal | None:
    """Read the error of Spark Connect, whose statement was accepted and then failed."""
    del scene
    return (
        Refusal(status=200, text=str(error)[:_MAX_WORDS], path=STATEMENTS) if is_a(error, classes.SPARK_ERROR) else None
    )


def _from_mlflow(error: BaseException, scene: Scene) -> Refusal | None:
    del scene
    if not is_a(error, classes.MLFLOW_ERROR):
        return None
    body = getattr(error, "json", None)
    if isinstance(body, dict):
        code = code_of(body.get("error_code"))
        status = int(code) if code and code.isdigit() else _mlflow_status(error)
        return Refusal(
            status=status,
            error_code=code,
            text=str(body.get("message", ""))[:_MAX_WORDS],
            details=details_of(body.get("details")),
        )
    match = MLFLOW_STATUS.pattern.search(str(error)[:_MAX_WORDS])
    return Refusal(status=int(match[1]), text=match[2]) if match is not None else None


def _mlflow_status(error: Any) -> int | None:
    """Return the HTTP status that MLflow maps an error code to."""
    status = error.get_http_status_code()
    return status if isinstance(status, int) else None


def _from_waiter(error: BaseException, scene: Scene) -> Refusal | None:
    """Return what the wire shows of a failed Genie message: the SDK's waiter and the LangChain bridge drop the reason."""
    failed = is_a(error, classes.OPERATION_FAILED) and GENIE_FAILED.pattern.search(str(error)[:_MAX_WORDS])
    if not failed and not (isinstance(error, KeyError) and _raised_in(error) == "databricks_ai_bridge.genie"):
        return None
    return next(
        (seen for seen in reversed(scene.seen) if seen.status == 200 and (seen.path or "").startswith(GENIE)), None
    )


def _from_reader(error: BaseException, scene: Scene) -> Refusal | None:
    """Return the plain-text refusal that the SDK failed to read after it asked for a stream."""
    if isinstance(error, TypeError) and scene.seen and _raised_in(error).startswith("databricks.sdk.logger"):
        return scene.seen[-1]
    return None


def _raised_in(error: BaseException) -> str:
    """Return the name of the module that raised an exception."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return str(trace.tb_frame.f_globals.get("__name__", "")) if trace is not None else ""


def _from_login(error: BaseException, scene: Scene) -> Refusal | None:
    """Read a sign-in page that came in place of a JSON answer."""
    if not is_a(error, classes.JSON_DECODE_ERROR) and status_of(error) not in REDIRECTS:
        return None
    if scene.seen and scene.seen[-1].status in REDIRECTS:
        return scene.seen[-1]
    location = getattr(getattr(error, "response", None), "headers", {}).get("location", "")
    url = str(getattr(getattr(error, "request", None), "url", ""))
    path = urlsplit(url).path
    if status_of(error) in REDIRECTS and is_login(location) and path.startswith(_API) and scene.is_own(url):
        return Refusal(status=302, path=path, location=location)
    return None


def _from_mcp(error: BaseException, scene: Scene) -> Refusal | None:
    """Read the error that an MCP client raises for a refusal."""
    if is_a(error, classes.UNSUPPORTED_PROTOCOL):
        # After a 401 the client looks for an authorization server, at an address without a host.
        path = str(getattr(getattr(error, "_request", None), "url", ""))
        return Refusal(status=401) if path.endswith("/.well-known/oauth-protected-resource") else None
    if is_a(error, classes.AGENTS_ERROR):
        status = AGENTS_STATUS.pattern.search(str(error)[:_MAX_WORDS])
        return _last_of(scene.seen, int(status[1])) if status is not None else None
    if is_a(error, classes.LANGCHAIN_MCP_ERROR):  # a result that says it is an error
        return Refusal(status=200, text=str(error)[:_MAX_WORDS], own=scene.speaks_for_itself())
    if not is_a(error, classes.MCP_ERROR):
        return None
    response = kept_of(error)
    if response is not None:
        answer = read_answer(response["body"])
        return Refusal(
            status=response["status"],
            error_code=answer.error_code,
            text=answer.text,
            details=answer.details,
            method="POST",
            path=response["path"],
            own=response.get("own") is True,
        )
    reply = getattr(error, "error", None)
    code, text = getattr(reply, "code", None), getattr(reply, "message", "")
    if code == -32600 and str(text).startswith("Redirect to "):
        return _last_of(scene.seen, *REDIRECTS)
    # A 404 (32600 in `mcp` 1, -32601 or -32600 in `mcp` 2).
    if (code, text) in ((32600, "Session terminated"), (-32600, "Session terminated"), (-32601, "Not Found")):
        seen = _last_of(scene.seen, 404)
        if seen is not None:
            return seen
        if _went_through(error, "initialize", "mcp."):  # no session exists yet that a server could have terminated
            return Refusal(status=404, error_code="NOT_FOUND", text="", path=_MCP)
    return None


def _last_of(evidence: Sequence[Refusal], *statuses: int) -> Refusal | None:
    """Return the latest refusal of an MCP server with one of these statuses, for errors that tell only the status."""
    return next((seen for seen in reversed(evidence) if seen.status in statuses and _of_mcp(seen.path)), None)


def _of_mcp(path: str | None) -> bool:
    return (path or "").startswith(_MCP)


def _went_through(error: BaseException, function: str, package: str) -> bool:
    """Check whether an exception passed a function of a package, whose name ends with a dot."""
    trace = error.__traceback__
    while trace is not None:
        frame = trace.tb_frame
        if frame.f_code.co_name == function and str(frame.f_globals.get("__name__", "")).startswith(package):
            return True
        trace = trace.tb_next
    return False


def _from_http(error: BaseException, scene: Scene) -> Refusal | None:
    """Read an HTTP client's error.

    It may come from any host. It counts if it has the shape of the platform's answers, or if the kit's own clients saw it.
    """
    status, response = status_of(error), getattr(error, "response", None)
    if status is None:
        return None
    request = getattr(error, "request", None)
    url = str(getattr(request, "url", ""))
    if package_of(error) == "databricks":
        code, text = code_of(getattr(error, "error_code", None)), str(error)[:_MAX_WORDS]
        content = getattr(error, "response_content", None)
        answer = read_answer(content if isinstance(content, bytes) else str(content or ""))
        code = code or answer.error_code  # older vector-search clients leave the code in the body
        seen = _seen(scene.seen, code=code, text=text, status=status)
        return seen or Refusal(status=status, error_code=code, text=text, details=answer.details)
    text = _body_of(response)
    answer, path = read_answer(text), urlsplit(url).path
    seen = _seen(scene.seen, code=answer.error_code, text=text, status=status, path=path)
    if seen is not None:
        return seen
    refusal = Refusal(
        status=status,
        error_code=answer.error_code,
        text=answer.text,
        details=answer.details,
        form=answer.form,
        method=getattr(request, "method", None),
        path=path,
        own=scene.is_own(url),
    )
    # MCP clients do not read the body of a refusal, and some bodies are not JSON. These paths belong to Databricks.
    if answer.error_code is not None or path.startswith(_OURS):
        return refusal
    return refusal if path.startswith(_API) and refusal.own and says_why(refusal) else None


def _body_of(response: Any) -> str:
    try:
        return str(response.text)
    except Exception:  # a stream that nobody read
        return ""


def _seen(
    evidence: Sequence[Refusal], *, code: str | None, text: str, status: int | None = None, path: str | None = None
) -> Refusal | None:
    """Return the latest refusal on the wire that an exception stands for.

    Either text may contain the other: a client may add words, or pick the message out of the body.
    """

    if not evidence:
        return None

    def is_told_of(seen: Refusal) -> bool:
        if seen.status in (200, *REDIRECTS) or (status is not None and seen.status != status):
            return False
        return (path is None or seen.path == path) and seen.error_code in (None, code)

    words = _words(text)
    return next((seen for seen in reversed(evidence) if is_told_of(seen) and _same(_words_of(seen), words)), None)


def _words_of(seen: Refusal) -> str:
    return _words(seen.text) or _phrase(seen.status)


def _same(words: str, other: str) -> bool:
    """Check whether one text contains the other. An empty text matches any."""
    return not other or words == other or bool(words and words[:200] in other) or other in words


def _words(text: str) -> str:
    return plain(
        text.replace("\n< ", " ") if len(text) <= _MAX_WORDS else text[:_MAX_WORDS].replace("\n< ", " "), _MAX_WORDS
    )


def _phrase(status: int | None) -> str:
    """Return the phrase that clients use for an answer without a body."""
    try:
        return HTTPStatus(status or 0).phrase
    except ValueError:
        return ""


_READERS: tuple[Callable[[BaseException, Scene], Refusal | Finding | None], ...] = (
    _from_sdk,
    _of_postgres,
    _of_bridge,
    _from_login,
    _from_sql_connector,
    _from_spark,
    _from_mlflow,
    _from_waiter,
    _from_reader,
    _from_mcp,
    _from_http,
)
