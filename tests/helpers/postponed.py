"""Tools whose annotations are text, and whose client type is imported for type checkers alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Annotated, Optional

from obo_kit import with_user_client

if TYPE_CHECKING:
    import databricks.sdk
    from databricks.sdk import WorkspaceClient


def kind_of(client: object) -> str:
    """The class of Databricks' that a user's client is derived from."""
    return next(base.__name__ for base in type(client).__mro__ if base.__module__.startswith("databricks."))


class Filter:
    """A type of the author's own."""


@with_user_client
def plain(client: WorkspaceClient, text: str, only: Filter | None = None, limit: int = 3) -> list[str]:
    """Find things."""
    return [kind_of(client), text, str(only), str(limit)]


@with_user_client
async def coroutine(client: WorkspaceClient, text: str) -> str:
    """Find things."""
    return f"{kind_of(client)} {text}"


@with_user_client
def generator(client: WorkspaceClient, text: str) -> Iterator[str]:
    """Find things."""
    yield f"{kind_of(client)} {text}"


@with_user_client
async def async_generator(client: WorkspaceClient, text: str) -> AsyncIterator[str]:
    """Find things."""
    yield f"{kind_of(client)} {text}"


@with_user_client
def optional(me: Optional[WorkspaceClient], text: str) -> str:  # noqa: UP045 - the older spelling is what is tested
    """Find things."""
    return f"{kind_of(me)} {text}"


@with_user_client
def dotted(me: databricks.sdk.WorkspaceClient | None, text: str) -> str:
    """Find things."""
    return f"{kind_of(me)} {text}"


@with_user_client
def annotated(me: Annotated[WorkspaceClient, "the user's"], text: str) -> str:
    """Find things."""
    return f"{kind_of(me)} {text}"
