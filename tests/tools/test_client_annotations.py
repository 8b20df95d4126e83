"""Which parameters `with_user_client` fills, by their annotations (rule 12)."""

from __future__ import annotations

import inspect
from typing import Annotated, Any, Optional, Union

import postponed
import pytest
from databricks.sdk import WorkspaceClient
from support import as_user

from obo_kit import with_user_client

Alias = WorkspaceClient


@pytest.fixture
def alice(workspace):
    with as_user(workspace, "alice") as session:
        yield session


@pytest.mark.parametrize(
    "annotation",
    [
        WorkspaceClient,
        Alias,
        Optional[WorkspaceClient],  # noqa: UP045
        Union[WorkspaceClient, None],  # noqa: UP007
        WorkspaceClient | None,
        Annotated[WorkspaceClient, "the user's"],
        Annotated[Optional[WorkspaceClient], "the user's"],  # noqa: UP045
        Optional["WorkspaceClient"],
        "WorkspaceClient",
        "Alias",
        "WorkspaceClient | None",
        "Optional[WorkspaceClient]",
        "'WorkspaceClient'",
        "Annotated[WorkspaceClient, 'x']",
        "Union[None, WorkspaceClient]",
        "typing.Optional[NotHere]|databricks.sdk.WorkspaceClient",
    ],
    ids=str,
)
def test_a_client_type_is_recognised_however_it_is_written(alice, annotation):
    """Evaluated where that is possible, else by name."""

    def tool(q, handle):
        return handle

    tool.__annotations__["handle"] = annotation
    assert with_user_client(tool)(1) is alice.client


@pytest.mark.parametrize(
    "annotation",
    [
        str,
        "str",
        Any,
        list[WorkspaceClient],
        "list[WorkspaceClient]",
        "dict[str, WorkspaceClient]",
        "NotAClient",
        "1 +",
    ],
    ids=str,
)
def test_what_is_no_client_type_is_not_filled(alice, annotation):

    def tool(client: WorkspaceClient, other=None):
        return other

    tool.__annotations__["other"] = annotation
    assert with_user_client(tool)(other="mine") == "mine"


def test_a_class_of_the_same_name_from_elsewhere_is_no_client():
    """A name counts only where it cannot be evaluated."""
    namespace: dict[str, Any] = {}
    exec("class WorkspaceClient: ...\ndef tool(one: 'WorkspaceClient'): ...", namespace)
    with pytest.raises(TypeError, match="found no client parameter"):
        with_user_client(namespace["tool"])


@pytest.mark.parametrize("kind", ["plain", "coroutine", "generator", "async_generator"])
async def test_annotations_that_are_text_and_cannot_all_be_evaluated(alice, kind):
    """Rule 12: under `from __future__ import annotations`, with the client's import for type checkers alone."""
    tool = getattr(postponed, kind)
    result = tool(text="x")
    if kind == "coroutine":
        assert await result == "WorkspaceClient x"
    elif kind == "generator":
        assert list(result) == ["WorkspaceClient x"]
    elif kind == "async_generator":
        assert [item async for item in result] == ["WorkspaceClient x"]
    else:
        assert result == ["WorkspaceClient", "x", "None", "3"]
    assert "client" not in tool.__annotations__
    assert tool.__annotations__["text"] is str  # evaluated: frameworks would look for the name in the kit's module


@pytest.mark.parametrize("name", ["optional", "dotted", "annotated"])
def test_unresolvable_text_is_recognised_by_name(alice, name):
    assert getattr(postponed, name)("x") == "WorkspaceClient x"


def test_other_annotations_are_evaluated(alice):
    """Rule 12: a type of the author's module is not to be found in the kit's."""
    expected = {"text": str, "only": postponed.Filter | None, "limit": int, "return": list[str]}
    assert postponed.plain.__annotations__ == expected
    signature = inspect.signature(postponed.plain)
    assert {name: one.annotation for name, one in signature.parameters.items()} | {
        "return": signature.return_annotation
    } == expected
    assert signature.parameters["limit"].default == 3


def test_an_annotation_of_a_closure_is_evaluated():
    """Rule 12."""

    class Local: ...

    @with_user_client
    def tool(client: WorkspaceClient, one: Local):
        return Local

    assert tool.__annotations__["one"] is Local


def test_an_annotation_that_cannot_be_evaluated_stays_and_harms_nobody(alice):
    """Rule 12: it fails where it would have failed without the kit."""

    def tool(client: WorkspaceClient, one=1):
        return one

    tool.__annotations__["one"] = "NotHere"
    tool = with_user_client(tool)
    assert tool.__annotations__ == {"one": "NotHere"}
    assert tool() == 1
