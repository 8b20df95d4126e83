"""Tools whose author wrote the client in every way. Read twice by the tests: as it is, and with its annotations as text.

What a model may know of each is a question and, of some, a limit. What is said of the client holds the word "handle".
"""

# ruff: noqa: UP006, UP007, UP035, UP045 - the older spellings are what is tested
import enum
import functools
from typing import Annotated, Any, List, Literal, Optional, Union

import pydantic
from databricks.ai_search.client import AISearchClient
from databricks.sdk import WorkspaceClient

from obo_kit import INJECTED, UserSession, optional_tool, requires_scopes, with_user_client

SIGNATURES: dict[str, Any] = {}


class Colour(enum.Enum):
    RED = "red"


class Filter(pydantic.BaseModel):
    colour: Colour = Colour.RED


def tool(fn=None, *, param=None):
    """The three decorators, in the documented order."""
    if fn is None:
        return lambda fn: tool(fn, param=param)
    made = optional_tool(requires_scopes("genie", "vector-search")(with_user_client(param=param)(fn)))
    SIGNATURES[made.__name__] = made
    return made


@tool
def first(client: WorkspaceClient, question: str, limit: int = 3) -> str:
    """Find things."""
    return question


@tool
def middle(question: str, client: WorkspaceClient, limit: int = 3) -> str:
    """Find things."""
    return question


@tool
def last(question: str, limit: int = 3, client: WorkspaceClient = None) -> str:  # type: ignore[assignment]
    """Find things."""
    return question


@tool
def keyword_only(question: str, limit: int = 3, *, client: WorkspaceClient) -> str:
    """Find things."""
    return question


@tool
def typed_default(question: str, *, limit: int = 3, client: WorkspaceClient = INJECTED) -> str:
    """Find things."""
    return question


@tool
async def coroutine(client: WorkspaceClient, question: str, limit: int = 3) -> str:
    """Find things."""
    return question


@tool
def optional(question: str, client: Optional[WorkspaceClient] = None) -> str:
    """Find things."""
    return question


@tool
def union(client: Union[WorkspaceClient, None], question: str) -> str:
    """Find things."""
    return question


@tool
def bar(client: WorkspaceClient | None, question: str) -> str:
    """Find things."""
    return question


@tool
def annotated(client: Annotated[WorkspaceClient, "the handle"], question: str) -> str:
    """Find things."""
    return question


@tool
def forward(client: "WorkspaceClient", question: "str", limit: "int" = 3) -> "str":
    """Find things."""
    return question


@tool
def unannotated(client, question: str) -> str:
    """Find things."""
    return question


@tool
def another_type(client: AISearchClient, question: str) -> str:
    """Find things."""
    return question


@tool
def a_session(handle: UserSession, question: str) -> str:
    """Find things."""
    return question


@tool
def two(client: WorkspaceClient, question: str, handle: UserSession, limit: int = 3) -> str:
    """Find things."""
    return question


@tool(param="handle")
def named(handle, question: str) -> str:
    """Find things."""
    return question


@tool
def described(
    client: WorkspaceClient,
    question: Annotated[str, pydantic.Field(description="What to find")],
    limit: Annotated[int, pydantic.Field(ge=1)] = 3,
) -> str:
    """Find things."""
    return question


@tool
def own_types(
    client: WorkspaceClient, question: Literal["a", "x"], limit: Optional[List[Filter]] = None
) -> dict[str, list[Colour]]:
    """Find things."""
    return {question: []}


@tool
def google(client: WorkspaceClient, question: str, limit: int = 3) -> str:
    """Find things.

    Args:
        client (WorkspaceClient): The handle, which goes
            on about the client.
        question: What to find.
        limit: How many.

    Returns:
        The things.
    """
    return question


@tool
def numpy(client: WorkspaceClient, question: str, limit: int = 3) -> str:
    """Find things.

    Parameters
    ----------
    client : WorkspaceClient
        The handle.
    question : str
        What to find.
    limit : int
        How many.
    """
    return question


@tool
def sphinx(client: WorkspaceClient, question: str, limit: int = 3) -> str:
    """Find things.

    :param client: The handle.
    :type client: WorkspaceClient
    :param question: What to find.
    :param limit: How many.
    """
    return question


class Shop:
    @tool
    def method(self, client: WorkspaceClient, question: str) -> str:
        """Find things."""
        return question

    @staticmethod
    @tool
    def static(client: WorkspaceClient, question: str) -> str:
        """Find things."""
        return question

    @classmethod
    @tool
    def of_class(cls, client: WorkspaceClient, question: str) -> str:
        """Find things."""
        return question


SIGNATURES |= {"method": Shop().method, "static": Shop.static, "of_class": Shop().of_class}


def for_a_partial(client: WorkspaceClient, prefix: str, question: str) -> str:
    """Find things."""
    return question


SIGNATURES["for_a_partial"] = tool(functools.partial(for_a_partial, prefix="x"))


@with_user_client
@optional_tool
@requires_scopes("genie")
def another_order(client: WorkspaceClient, question: str) -> str:
    """Find things."""
    return question


SIGNATURES["another_order"] = another_order
