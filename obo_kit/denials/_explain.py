"""`explain`: say what an exception or a value was refused, and who can fix it (rules 15 to 18)."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

from obo_kit._upstream.errors import tells_nothing
from obo_kit._utils.plain import plain
from obo_kit.context._calls import Evidence
from obo_kit.context._frame import FRAME
from obo_kit.denials._classify import STATEMENT_TAKEN, classify, route_of
from obo_kit.denials._from_exceptions import Scene, of_exception, without_config
from obo_kit.denials._from_values import GENIE_FAILED, of_value
from obo_kit.denials._remedies import USER_MESSAGES, Subject, full_name, is_id, remedy_for
from obo_kit.exceptions import Denial, DenialReason
from obo_kit.scopes._lookup import catalogue, route_verdict

if TYPE_CHECKING:
    from obo_kit.context._calls import ToolCall
    from obo_kit.context._frame import Session, SessionUser
    from obo_kit.denials._classify import Finding
    from obo_kit.scopes._lookup import ResourceKind

__all__ = ["explain", "keep_denial", "kept_denial", "raise_for_denial", "rewrite_denials"]

logger = logging.getLogger(__name__)
T = TypeVar("T")
_R = DenialReason
_NOTHING_SEEN = Evidence()
_KEPT = "__obo_kit_denial__"
_CONNECTIONS = ("connection", "schema_connection", "uc_connection")
_MAX_TEXT, _MAX_REMEDY = 8000, 1500
_PLAIN = frozenset({str, int, float, bool, list, tuple, dict, type(None)})
"""Types of values that are refusals only if the kit saw one on the wire, or if their text says so itself."""


def explain(refused: object) -> Denial | None:
    """Explain an exception, or a value that is a refusal in disguise.

    Inside a tool call, the kit also uses what its clients saw on the wire, since some clients lose the status or the reason.
    It follows ``__cause__`` and known wrappers, but not an accidental ``__context__``. A group of exceptions is a denial only
    if all of its leaves are. Values count only in these exact forms: a failed SQL statement (``StatementResponse``), a failed
    Genie message (``GenieMessage``, or what ``databricks_ai_bridge.genie`` makes of it), the result of an MCP tool that says
    it is an error, a ``FunctionExecutionResult`` with an error, and a sign-in page in place of an answer, if the kit's
    clients saw the redirect.

    Returns:
        The `Denial`; `None` for anything that is not a denial.
    """
    frame = FRAME.get()
    call = frame.call if frame is not None else None
    return explain_in(refused, call, frame.session if frame is not None else None)


def explain_in(refused: object, call: ToolCall | None, session: Session | None) -> Denial | None:
    """Explain a refusal inside a tool call of a session; see `explain`."""
    evidence = call.noted if call is not None else session.evidence if session is not None else None
    if type(refused) in _PLAIN and (evidence is None or not evidence.refusals):
        says_so = isinstance(refused, str) and refused.startswith(GENIE_FAILED)
        if not says_so:
            return None  # most values that tools return
    evidence = evidence or _NOTHING_SEEN
    user = session.user if session is not None else None
    scene = Scene(evidence=evidence, host=user.host if user is not None else "")
    finding = _found(refused, evidence, scene)
    return _rewritten(_described(finding, call, user)) if finding is not None else None


def keep_denial(error: BaseException, denial: Denial | None, evidence: Evidence | None) -> None:
    """Keep the explanation of an error that leaves a tool or a session, if a client of the user's saw a refusal there."""
    if denial is not None and evidence is not None and evidence.refusals and kept_denial(error) is None:
        with contextlib.suppress(Exception):  # an error of theirs that takes no attributes
            setattr(error, _KEPT, denial)


def kept_denial(error: BaseException) -> Denial | None:
    """Return the explanation that was kept; None for what is no refusal of a user, as far as the kit saw it."""
    denial = getattr(error, _KEPT, None)
    return denial if isinstance(denial, Denial) else None


def _found(refused: object, evidence: Evidence, scene: Scene) -> Finding | None:
    try:
        if not isinstance(refused, BaseException):
            return of_value(refused, scene)
        if tells_nothing(refused):
            return classify(evidence.last) if evidence.last is not None else None
        return of_exception(refused, scene)
    except Exception as error:  # an attribute or a text of theirs that raises: their error must not become this one
        logger.debug("A %s cannot be read: %s", type(refused).__name__, type(error).__name__)
        return None


def raise_for_denial(value: T, /) -> T:
    """Raise the refusal that an answer holds. Return any other value as it is.

    Some refusals come as ordinary values (`explain` lists the forms)::

        response = raise_for_denial(client.statement_execution.execute_statement(sql, warehouse_id))

    Raises:
        AccessDeniedError: The value is a refusal. Its ``denial`` says what was refused, why, and who can fix it. Some
            reasons have a type of their own: `MissingScopeError`, `TokenExpiredError` and `NoUserIdentityError`.
    """
    denial = explain(value)
    if denial is not None:
        raise denial.error()
    return value


Rewrite = Callable[[Denial], Denial]
_rewrite: Rewrite | None = None


def rewrite_denials(rewrite: Rewrite | None, /) -> None:
    """Replace the texts of denials with your own: a function sees each denial of this process and returns a changed one.

    Use it to translate, to name the resource to the user, or to point at the right help desk::

        def in_german(denial: Denial) -> Denial:
            return dataclasses.replace(denial, user_message=GERMAN[denial.reason])

        obo_kit.rewrite_denials(in_german)

    If the function raises, the error is logged and the denial stays as it was. The reason cannot be changed.

    Args:
        rewrite: Takes and returns a `Denial`; `None` restores the kit's own texts.

    Raises:
        TypeError: ``rewrite`` is not callable.
    """
    global _rewrite
    if rewrite is not None and not callable(rewrite):
        raise TypeError(f"rewrite_denials takes a function or None, not a {type(rewrite).__name__}")
    _rewrite = rewrite


def _rewritten(denial: Denial) -> Denial:
    if _rewrite is None:
        return denial
    try:
        rewritten = _rewrite(denial)
        if not isinstance(rewritten, Denial):
            raise TypeError(f"it returned a {type(rewritten).__name__}, not a Denial")
        return replace(rewritten, reason=denial.reason)
    except Exception:
        logger.exception("The function that rewrite_denials was called with failed")
        return denial


def _described(finding: Finding, call: ToolCall | None, user: SessionUser | None) -> Denial:
    machine = finding.refusal.machine
    finding = _with_scopes_of(finding, user) if machine is None else finding
    declared = call.declared if call is not None else None
    kind, name = _resource_of(finding, declared.resources if declared is not None else ())
    subject = Subject(
        kind=kind,
        name=name,
        tool=call.tool if call is not None else None,
        declared=declared.spellings if declared is not None else frozenset(),
        user=user,
        machine=machine,
    )
    return Denial(
        reason=finding.reason,
        tool=subject.tool,
        resource=plain(name) if name else None,
        scopes=finding.scopes if finding.refusal.own else (),
        principal=subject.principal,
        status=finding.refusal.status,
        error_code=finding.refusal.error_code,
        user_message=USER_MESSAGES[finding.reason],
        detail=_detail(finding),
        remedy=plain(remedy_for(finding, subject), _MAX_REMEDY),
    )


def _with_scopes_of(finding: Finding, user: SessionUser | None) -> Finding:
    """Read the missing scopes off the token, if the client lost the platform's text."""
    if finding.reason is not _R.ACCESS_DENIED or finding.refusal.text or user is None or user.scopes is None:
        return finding
    route = route_of(finding.refusal)
    missing = route_verdict(route, user.scopes)[1] if route is not None else ()
    return replace(finding, reason=_R.MISSING_SCOPE, scopes=tuple(sorted(missing))) if missing else finding


def _detail(finding: Finding) -> str:
    refusal = finding.refusal
    words = plain(without_config(refusal.text[:_MAX_TEXT]))
    where = f"{refusal.method} {plain(refusal.path)}: " if refusal.method and refusal.path else ""
    return f"{where}{words}" if words else f"{where}{finding.reason.value.replace('_', ' ')}"


Resource = tuple["ResourceKind", str]


def _resource_of(finding: Finding, declared: Sequence[Resource]) -> tuple[ResourceKind | None, str | None]:
    """Return the refused object: as the platform names it, else by its path, else the only declared resource that fits."""
    kind = _kind_of(finding)
    if finding.name:
        return _named(finding, finding.name, kind, declared)
    if finding.what is not None:
        word = finding.what.lower()
        return _only([resource for resource in declared if word in resource[0].title.lower()]) or (None, None)
    return _only(_asked_for(finding, declared) or _of_kind(finding, kind, declared)) or (kind, None)


def _asked_for(finding: Finding, declared: Sequence[Resource]) -> Sequence[Resource]:
    """Return the declared resources that the path names."""
    if not declared or finding.kind or finding.refusal.status == STATEMENT_TAKEN:
        return ()
    segments = _segments(finding)
    return [resource for resource in declared if resource[1] in segments]


def _of_kind(finding: Finding, kind: ResourceKind | None, declared: Sequence[Resource]) -> Sequence[Resource]:
    if kind is None:
        return () if finding.refusal.status == STATEMENT_TAKEN else declared
    return [resource for resource in declared if resource[0].name == kind.name]


def _kind_of(finding: Finding) -> ResourceKind | None:
    route = route_of(finding.refusal)
    # Once the warehouse has accepted a statement, or the space a question, they are not what was refused.
    of_route = route.kind if route is not None and finding.refusal.status != STATEMENT_TAKEN else None
    return catalogue().kinds.get(finding.kind or of_route or "")


def _named(
    finding: Finding, name: str, kind: ResourceKind | None, declared: Sequence[Resource]
) -> tuple[ResourceKind | None, str]:
    word = finding.what or (kind.name if kind is not None else "")
    name = full_name(name, word, finding.refusal.path or "", [name for _, name in declared])
    same = next((resource for resource in declared if resource[1] == name), None) or _by_id(name, word, declared)
    if same is not None:
        return same
    if finding.what is None:
        is_asked_for = finding.kind is not None or name in _segments(finding)
        return (kind if is_asked_for else None), name
    is_generic = kind is not None and finding.what.lower() in kind.title.lower()  # several kinds are called "endpoint"
    return (kind if finding.kind or is_generic else None), name


def _by_id(name: str, word: str, declared: Sequence[Resource]) -> Resource | None:
    """Return the declared connection, if the platform gives only an id."""
    if not is_id(name) or word.lower().replace(" ", "_") not in _CONNECTIONS:
        return None
    return _only([resource for resource in declared if resource[0].name == "uc_connection"])


def _segments(finding: Finding) -> Sequence[str]:
    return unquote(finding.refusal.path or "").split("/")


def _only(resources: Sequence[Resource]) -> Resource | None:
    return resources[0] if len(resources) == 1 else None
