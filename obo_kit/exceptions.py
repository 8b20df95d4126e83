"""Define the kit's errors, and the `Denial` that they carry.

A type exists only where a caller would branch on it. Each message ends in a line that says how to fix the problem.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from obo_kit._utils.plain import visible

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "AccessDeniedError",
    "Denial",
    "DenialReason",
    "IdentityMismatchError",
    "MissingScopeError",
    "NoUserIdentityError",
    "NoUserSessionError",
    "OboError",
    "PolicyError",
    "ScopeViolationError",
    "SessionClosedError",
    "TokenExpiredError",
    "UnknownScopeError",
]


_LINES = "\n\t"


class DenialReason(enum.Enum):
    """Why a user is refused. Everything else (bugs, bad arguments, rate limits, outages) is not a denial."""

    NO_IDENTITY = "no_identity"
    """There is no user to act for."""
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - a name, not a token
    """The workspace does not accept the user's token, or no longer accepts it."""
    MISSING_SCOPE = "missing_scope"
    """The user's token is not allowed to use this API. The deployer can fix it."""
    ACCESS_DENIED = "access_denied"
    """The user lacks a grant."""
    NOT_FOUND_OR_DENIED = "not_found_or_denied"
    """The platform hides objects that the user may not see, and does not say whether this one is absent or refused."""
    LOGIN_REQUIRED = "login_required"
    """Only the user can give this: a login to a connection, or consent."""
    SCOPE_VIOLATION = "scope_violation"
    """The tool called an API outside the scopes that it declares."""
    POLICY = "policy"
    """The workspace, its network or its plan refuses every caller. An admin can fix it. Optional tools forgive it only
    when asked to."""


class OboError(Exception):
    """Base class of every error that the kit raises on purpose. Holds no secret, and survives a pickle round trip.

    Attributes:
        message: What went wrong, in one sentence.
        remedy: How to fix it, in one line.
    """

    def __init__(self, message: str, *, remedy: str) -> None:
        message, remedy = visible(message, keep=_LINES), visible(remedy, keep=_LINES)
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\nFix: {self.remedy}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[OboError], args: tuple[Any, ...], state: dict[str, Any]) -> OboError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class NoUserIdentityError(OboError):
    """There is no user to act for, or the user's identity is in doubt. Nothing was sent."""


class NoUserSessionError(OboError):
    """No session is open here, although this process opens one per request (rule 7)."""


class SessionClosedError(OboError):
    """A client or a tool was used after its request had ended. Nothing was sent."""


class IdentityMismatchError(OboError):
    """The code named another user inside a session, and a session is pinned to its own user."""


class TokenExpiredError(OboError):
    """The user's token has expired, or the workspace no longer accepts it."""


class MissingScopeError(OboError):
    """The user's token does not carry scopes that the tool declares.

    Attributes:
        scopes: All missing scopes, sorted, so that one deployment fixes everything.
    """

    def __init__(self, message: str, *, remedy: str, scopes: Iterable[str]) -> None:
        super().__init__(message, remedy=remedy)
        self.scopes = tuple(sorted(scopes))


class AccessDeniedError(OboError):
    """The user may not do this. Raise it as ``denial.error()`` where you prefer an exception to a value.

    Attributes:
        denial: The refusal, explained.
    """

    def __init__(self, message: str, *, remedy: str, denial: Denial) -> None:
        super().__init__(message, remedy=remedy)
        self.denial = denial


class UnknownScopeError(OboError, ValueError):
    """The catalogue has no scope of this name.

    Attributes:
        scope: The name that was passed.
        nearest: The most similar name in the catalogue; ``None`` if no name is similar.
    """

    def __init__(self, message: str, *, remedy: str, scope: str, nearest: str | None) -> None:
        super().__init__(message, remedy=remedy)
        self.scope = scope
        self.nearest = nearest


class ScopeViolationError(OboError):
    """A tool called an API outside the scopes it declares. Nothing was sent.

    Attributes:
        scopes: The scopes that open this call, sorted. Any one of them is enough.
    """

    def __init__(self, message: str, *, remedy: str, scopes: Iterable[str]) -> None:
        super().__init__(message, remedy=remedy)
        self.scopes = tuple(sorted(scopes))


class PolicyError(OboError):
    """A policy cannot be collected, or its target cannot grant it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Denial:
    """A refusal, explained to three readers. It is safe to print and holds no token.

    Attributes:
        reason: The kind of refusal.
        tool: The tool that was refused, if one was running.
        resource: The name of the refused resource, if it is known.
        scopes: All missing scopes, sorted.
        principal: The user who was refused, if known.
        status: The HTTP status, if there was one; 200 for a refusal that came as an ordinary value.
        error_code: The platform's error code.
        user_message: For the model and the user: no host, no client id, no resource name.
        detail: For logs: the platform's own words.
        remedy: For the person who can fix it.
    """

    reason: DenialReason
    tool: str | None = None
    resource: str | None = None
    scopes: tuple[str, ...] = ()
    principal: str | None = None
    status: int | None = None
    error_code: str | None = None
    user_message: str
    detail: str
    remedy: str

    def __post_init__(self) -> None:
        """Keep others' control characters out of terminals and logs."""
        texts = (
            f"{self.tool}{self.resource}{self.principal}{self.error_code}{self.user_message}{self.detail}{self.remedy}"
        )
        if texts.isprintable():
            return
        for name in ("tool", "resource", "principal", "error_code", "user_message", "detail", "remedy"):
            value = getattr(self, name)
            if isinstance(value, str) and not value.isprintable():
                object.__setattr__(self, name, visible(value, keep=_LINES if name == "user_message" else ""))

    def error(self) -> OboError:
        """Return the refusal as an exception, for a tool that received it as a value: ``raise denial.error()``."""
        if self.reason is DenialReason.NO_IDENTITY:
            return NoUserIdentityError(self.detail, remedy=self.remedy)
        if self.reason is DenialReason.TOKEN_EXPIRED:
            return TokenExpiredError(self.detail, remedy=self.remedy)
        if self.reason is DenialReason.MISSING_SCOPE:
            return MissingScopeError(self.detail, remedy=self.remedy, scopes=self.scopes)
        if self.reason is DenialReason.SCOPE_VIOLATION:
            return ScopeViolationError(self.detail, remedy=self.remedy, scopes=self.scopes)
        return AccessDeniedError(self.detail, remedy=self.remedy, denial=self)
