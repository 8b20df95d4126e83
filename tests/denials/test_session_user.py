"""Refusals are explained for the user as the token in force describes them, renewed or not."""

from __future__ import annotations

from databricks.sdk import WorkspaceClient

import obo_kit
from obo_kit import Denial, DenialReason, optional_tool, user_session, with_user_client

EMPTY = {"status": 403, "body": "", "times": None, "path_prefix": "/api/2.0/sql/warehouses"}


@with_user_client
def list_warehouses(client: WorkspaceClient) -> object:
    return list(client.warehouses.list())


def refused() -> Denial:
    denials: list[Denial] = []
    optional_tool(fallback=denials.append)(list_warehouses)()
    (denial,) = denials
    return denial


def test_a_token_without_the_scope_explains_an_empty_refusal(workspace):
    workspace.add_fault(**EMPTY)
    with user_session(token=workspace.token("alice", scopes=["files"]), host=workspace.host):
        denial = refused()
    assert (denial.reason, denial.scopes) == (
        DenialReason.MISSING_SCOPE,
        ("sql", "sql.warehouses", "sql.warehouses:read"),
    )


def test_a_developer_is_named_once_looked_up(workspace):
    workspace.add_fault(**EMPTY)
    with workspace.as_notebook("alice"), user_session() as session:
        denial = refused()
        assert denial.principal == session.identity.principal == "alice@example.com"


def test_the_reasons_are_public_where_they_were():
    assert obo_kit.Denial is Denial
    assert obo_kit.exceptions.DenialReason is DenialReason
