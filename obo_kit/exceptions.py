"""Define the kit's errors, and the `Denial` that they carry.

A type exists only where a caller would branch on it; each message ends in a line that says how to mend it.
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
    """Why a user may not. Everything else (bugs, bad arguments, rate limits, outages) is not a denial."""

    NO_IDENTITY = "no_identity"
    """There is no user to act for."""
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - a name, not a token
    """The workspace does not take the user's token, or does not take it any more."""
    MISSING_SCOPE = "missing_scope"
    """The user's token is not allowed to use this API: the deployer's to mend."""
    ACCESS_DENIED = "access_denied"
    """The user lacks a grant."""
    NOT_FOUND_OR_DENIED = "not_found_or_denied"
    """The platform hides what the user may not see: absent or refused, it does not say which."""
    LOGIN_REQUIRED = "login_required"
    """Only the user can give this: a login to a connection, or consent."""
    SCOPE_VIOLATION = "scope_violation"
    """The tool called an API outside the scopes it declares."""
    POLICY = "policy"
    """The workspace, its network or its plan refuses whoever asks: an admin's to mend. Not forgiven unless asked."""


class OboError(Exception):
    """Base of everything the kit raises on purpose. Holds no secret, and survives a pickle round trip.

    Attributes:
        message: What went wrong, in one sentence.
        remedy: How to mend it, in one line.
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
    """There is no user to act for, or some doubt about who it is. Nothing was sent."""


class NoUserSessionError(OboError):
    """No session is open here, though this process opens one per request (rule 7)."""


class SessionClosedError(OboError):
    """A client, or a tool, was used after its request had ended. Nothing was sent."""


class IdentityMismatchError(OboError):
    """Another user was named inside a session that is pinned to its own."""


class TokenExpiredError(OboError):
    """The user's token has expired, or the workspace does not take it any more."""


class MissingScopeError(OboError):
    """The user's token does not carry scopes that the tool declares.

    Attributes:
        scopes: All the missing scopes, sorted, so that one deployment mends everything.
    """

    def __init__(self, message: str, *, remedy: str, scopes: Iterable[str]) -> None:
        super().__init__(message, remedy=remedy)
        self.scopes = tuple(sorted(scopes))


class AccessDeniedError(OboError):
    """The user may not do this. Raised by ``Denial.error()``, for code that prefers an exception to a value.

    Attributes:
        denial: The refusal, explained.
    """

    def __init__(self, message: str, *, remedy: str, denial: Denial) -> None:
        super().__init__(message, remedy=remedy)
        self.denial = denial


class UnknownScopeError(OboError, ValueError):
    """The catalogue knows no scope of this name.

    Attributes:
        scope: The name as given.
        nearest: The catalogue's nearest name, if one is near.
    """

    def __init__(self, message: str, *, remedy: str, scope: str, nearest: str | None) -> None:
        super().__init__(message, remedy=remedy)
        self.scope = scope
        self.nearest = nearest


class ScopeViolationError(OboError):
    """A tool called an API outside the scopes it declares. Nothing was sent.

    Attributes:
        scopes: The scopes that the call needs, any one of which would do, sorted.
    """

    def __init__(self, message: str, *, remedy: str, scopes: Iterable[str]) -> None:
        super().__init__(message, remedy=remedy)
        self.scopes = tuple(sorted(scopes))


class PolicyError(OboError):
    """A policy cannot be collected, or its target cannot grant it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Denial:
    """A refusal, explained to three readers. Safe to print; holds no token.

    Attributes:
        reason: Why.
        tool: The tool that was refused, where one was running.
        resource: The name of what was refused, where it is known.
        scopes: The missing scopes, all of them, sorted.
        principal: The user who was refused, where it is known.
        status: The HTTP status, where there was one; 200 for a refusal that came as an ordinary value.
        error_code: The platform's code.
        user_message: For the model and the user: no host, no client id, no resource name.
        detail: For logs: the platform's own words.
        remedy: For the person who can mend it.
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
        for name in ("tool", "resource", "principal", "error_code", "user_message", "detail", "remedy"):
            value = getattr(self, name)
            if isinstance(value, str) and not value.isprintable():
                object.__setattr__(self, name, visible(value, keep=_LINES if name == "user_message" else ""))

    def error(self) -> OboError:
        """Return the refusal as an exception, for a tool that finds it in a value: ``raise denial.error()``."""
        if self.reason is DenialReason.NO_IDENTITY:
            return NoUserIdentityError(self.detail, remedy=self.remedy)
        if self.reason is DenialReason.TOKEN_EXPIRED:
            return TokenExpiredError(self.detail, remedy=self.remedy)
        if self.reason is DenialReason.MISSING_SCOPE:
            return MissingScopeError(self.detail, remedy=self.remedy, scopes=self.scopes)
        if self.reason is DenialReason.SCOPE_VIOLATION:
            return ScopeViolationError(self.detail, remedy=self.remedy, scopes=self.scopes)
        return AccessDeniedError(self.detail, remedy=self.remedy, denial=self)
