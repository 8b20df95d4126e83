"""What the kit raises. A type exists only where a caller would branch on it; each ends in a line that says how to mend it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from obo_kit.denials._explain import Denial

__all__ = [
    "AccessDeniedError",
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


class OboError(Exception):
    """Base of everything the kit raises on purpose. Holds no secret, and survives a pickle round trip.

    Attributes:
        message: What went wrong, in one sentence.
        remedy: How to mend it, in one line.
    """

    def __init__(self, message: str, *, remedy: str) -> None:
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
