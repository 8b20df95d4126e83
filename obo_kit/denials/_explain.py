"""`explain`: what an exception or a value was refused, and who can mend it (rules 15 to 18)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

from obo_kit._upstream.errors import tells_nothing
from obo_kit._utils.plain import plain
from obo_kit.context._calls import Evidence
from obo_kit.context._frame import FRAME
from obo_kit.denials._classify import classify, route_of
from obo_kit.denials._from_exceptions import Scene, of_exception, without_config
from obo_kit.denials._from_values import of_value
from obo_kit.denials._remedies import USER_MESSAGES, Subject, full_name, is_id, remedy_for
from obo_kit.exceptions import Denial, DenialReason
from obo_kit.scopes._lookup import catalogue, route_verdict

if TYPE_CHECKING:
    from obo_kit.context._calls import ToolCall
    from obo_kit.context._frame import Session, SessionUser
    from obo_kit.denials._classify import Finding
    from obo_kit.scopes._lookup import ResourceKind

__all__ = ["explain", "raise_for_denial", "rewrite_denials"]

logger = logging.getLogger(__name__)
T = TypeVar("T")
_R = DenialReason
_TAKEN = 200
_CONNECTIONS = ("connection", "schema_connection", "uc_connection")
_MAX_TEXT, _MAX_REMEDY = 8000, 1500


def explain(refused: object) -> Denial | None:
    """Explain an exception, or a value that is a refusal in disguise.

    Inside a tool call, what the kit's clients saw on the wire is used where a client lost the status or the reason on
    the way. ``__cause__`` and known wrappers are followed, an accidental ``__context__`` is not; a group of exceptions is
    a denial only if all of its leaves are. Values count only in their exact forms: a failed SQL statement
    (``StatementResponse``), a failed Genie message (``GenieMessage``, or what ``databricks_ai_bridge.genie`` makes of it),
    the result of an MCP tool that says it is an error, a ``FunctionExecutionResult`` with an error, and a sign-in page in
    place of an answer, where the kit's clients saw the redirect.

    Returns:
        The `Denial`; `None` for anything that is not one.
    """
    frame = FRAME.get()
    call = frame.call if frame is not None else None
    return explain_in(refused, call, frame.session if frame is not None else None)


def explain_in(refused: object, call: ToolCall | None, session: Session | None) -> Denial | None:
    """Explain what a tool call of a session was refused; see `explain`."""
    user = session.user if session is not None else None
    evidence = call.evidence if call is not None else session.evidence if session is not None else Evidence()
    scene = Scene(evidence=evidence, host=user.host if user is not None else "")
    if not isinstance(refused, BaseException):
        finding = of_value(refused, scene)
    elif tells_nothing(refused):
        finding = classify(evidence.last) if evidence.last is not None else None
    else:
        finding = of_exception(refused, scene)
    return _rewritten(_described(finding, call, user)) if finding is not None else None


def raise_for_denial(value: T, /) -> T:
    """Raise the refusal that an answer holds; return any other value as it is.

    For refusals that come as ordinary values (`explain` lists the forms)::

        response = raise_for_denial(client.statement_execution.execute_statement(sql, warehouse_id))

    Raises:
        AccessDeniedError: The value is a refusal; its ``denial`` says what, why and who can mend it. So too, for their
            reasons: `MissingScopeError`, `TokenExpiredError` and `NoUserIdentityError`.
    """
    denial = explain(value)
    if denial is not None:
        raise denial.error()
    return value


Rewrite = Callable[[Denial], Denial]
_rewrite: Rewrite | None = None


def rewrite_denials(rewrite: Rewrite | None, /) -> None:
    """Say it in your own words: a function sees each denial of this process and returns it with other texts.

    To translate, to name the resource to the user, or to point at the right help desk::

        def in_german(denial: Denial) -> Denial:
            return dataclasses.replace(denial, user_message=GERMAN[denial.reason])

        obo_kit.rewrite_denials(in_german)

    What it raises is logged, and the denial stays as it was. Its reason cannot be changed.

    Args:
        rewrite: Takes and returns a `Denial`; `None` for the kit's own words.

    Raises:
        TypeError: It cannot be called.
    """
    global _rewrite
    if rewrite is not None and not callable(rewrite):
        raise TypeError(f"rewrite_denials takes a function or None, not a {type(rewrite).__name__}")
    _rewrite = rewrite


def _rewritten(denial: Denial) -> Denial:
    if _rewrite is None:
        return denial
    try:
        told = _rewrite(denial)
        if not isinstance(told, Denial):
            raise TypeError(f"it returned a {type(told).__name__}, not a Denial")
        return replace(told, reason=denial.reason)
    except Exception:
        logger.exception("The function given to rewrite_denials failed")
        return denial


def _described(finding: Finding, call: ToolCall | None, user: SessionUser | None) -> Denial:
    finding = _with_scopes_of(finding, user)
    declared = call.declared if call is not None else None
    kind, name = _resource_of(finding, declared.resources if declared is not None else ())
    subject = Subject(
        kind=kind,
        name=name,
        tool=call.tool if call is not None else None,
        declared=declared.held if declared is not None else frozenset(),
        user=user,
    )
    return Denial(
        reason=finding.reason,
        tool=subject.tool,
        resource=plain(name) if name else None,
        scopes=finding.scopes if finding.refusal.own else (),
        principal=user.principal if user is not None else None,
        status=finding.refusal.status,
        error_code=finding.refusal.error_code,
        user_message=USER_MESSAGES[finding.reason],
        detail=_detail(finding),
        remedy=plain(remedy_for(finding, subject), _MAX_REMEDY),
    )


def _with_scopes_of(finding: Finding, user: SessionUser | None) -> Finding:
    """Let the token say what it lacks, where the client lost the platform's words."""
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


def _resource_of(
    finding: Finding, declared: Sequence[tuple[ResourceKind, str]]
) -> tuple[ResourceKind | None, str | None]:
    """Return what was refused: as the platform names it, else as its path does, else the only thing declared that it can be."""
    refusal, kinds = finding.refusal, catalogue().kinds
    route = route_of(refusal)
    # Once the warehouse has taken a statement, or the space a question, it is not what was refused.
    of_route = route.kind if route is not None and refusal.status != _TAKEN else None
    kind = kinds.get(finding.kind or of_route or "")
    word = finding.what or (kind.name if kind is not None else "")
    if finding.name:
        name = full_name(finding.name, word, refusal.path or "", [name for _, name in declared])
        for resource in declared:
            if resource[1] == name:
                return resource
        if word.lower().replace(" ", "_") in _CONNECTIONS:
            connections = [resource for resource in declared if resource[0].name == "uc_connection"]
            if is_id(name) and len(connections) == 1:
                return connections[0]
        if finding.what is None and name not in unquote(refusal.path or "").split("/"):
            kind = kinds.get(finding.kind or "")
        return (kind if finding.what is None or finding.kind else None), name
    if finding.what is not None:
        return None, None
    parts = unquote(refusal.path or "").split("/") if not finding.kind else ()
    candidates = [resource for resource in declared if resource[1] in parts and refusal.status != _TAKEN]
    if not candidates and (kind is not None or refusal.status != _TAKEN):
        candidates = [resource for resource in declared if kind is None or resource[0].name == kind.name]
    return candidates[0] if len(candidates) == 1 else (kind, None)
