"""`explain`: what an exception or a value was refused, and who can mend it (rules 15 to 18)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

from obo_kit._upstream.errors import tells_nothing
from obo_kit.context._frame import FRAME
from obo_kit.denials._classify import Finding, classify, route_of
from obo_kit.denials._from_exceptions import CONFIG_TAIL, of_exception
from obo_kit.denials._from_values import of_value
from obo_kit.denials._remedies import USER_MESSAGES, scope_remedy, user_remedy
from obo_kit.exceptions import Denial, DenialReason
from obo_kit.scopes._lookup import TARGETS, catalogue, route_verdict

if TYPE_CHECKING:
    from obo_kit.context._calls import ToolCall
    from obo_kit.context._frame import Session
    from obo_kit.scopes._lookup import ResourceKind

__all__ = ["explain", "rewrite_denials"]

logger = logging.getLogger(__name__)
_R = DenialReason


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
    evidence = call.seen if call is not None else ()
    if not isinstance(refused, BaseException):
        found = of_value(refused, evidence)
    elif call is not None and tells_nothing(refused):
        found = classify(call.evidence.last) if call.evidence.last is not None else None
    else:
        found = of_exception(refused, evidence, 0)
    return _rewritten(_described(found, call, session)) if found is not None else None


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


def _described(found: Finding, call: ToolCall | None, session: Session | None) -> Denial:
    user = session.user if session is not None else None
    if found.reason is _R.ACCESS_DENIED and not found.refusal.text and user is not None and user.scopes is not None:
        # The client lost the platform's words, and the token says what it carries.
        route = route_of(found.refusal)
        missing = route_verdict(route, user.scopes)[1] if route is not None else ()
        if missing:
            found = replace(found, reason=_R.MISSING_SCOPE, scopes=tuple(sorted(missing)))
    declared = call.declared if call is not None else None
    kind, name = _resource_of(found, declared.resources if declared is not None else ())
    tool = call.tool if call is not None else None
    principal = user.principal if user is not None else None
    remedy = found.remedy
    if remedy is None and found.reason is _R.MISSING_SCOPE:
        held = declared.held if declared is not None else frozenset[str]()
        remedy = scope_remedy(found, tool=tool, target=user.target if user is not None else TARGETS[0], held=held)
    return Denial(
        reason=found.reason,
        tool=tool,
        resource=name,
        scopes=found.scopes,
        principal=principal,
        status=found.refusal.status,
        error_code=found.refusal.error_code,
        user_message=USER_MESSAGES[found.reason],
        detail=_detail(found),
        remedy=remedy or user_remedy(found, kind=kind, name=name, principal=principal),
    )


def _detail(found: Finding) -> str:
    refusal = found.refusal
    words = " ".join(CONFIG_TAIL.sub("", refusal.text).split())[:500]
    where = f"{refusal.method} {refusal.path}: " if refusal.method and refusal.path else ""
    return f"{where}{words}" if words else f"{where}{found.reason.value.replace('_', ' ')}"


def _resource_of(
    found: Finding, declared: Sequence[tuple[ResourceKind, str]]
) -> tuple[ResourceKind | None, str | None]:
    """What was refused: as the platform names it, else as its path does, else the only thing declared that it can be."""
    route = route_of(found.refusal)
    kind = catalogue().kinds.get(found.kind or (route.kind if route is not None else None) or "")
    if found.name:
        for known in declared:
            if known[1] == found.name:
                return known
        return (None if found.what else kind), found.name
    parts = unquote(found.refusal.path or "").split("/") if not found.kind else ()
    candidates = [known for known in declared if known[1] in parts] or [
        known for known in declared if kind is None or known[0].name == kind.name
    ]
    return candidates[0] if len(candidates) == 1 else (kind, None)
