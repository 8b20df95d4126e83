"""A session knows one user, and everything that speaks of that user reads it there."""

from __future__ import annotations

import pytest
from support import SPACE, as_user, me, unsigned

from obo_kit import (
    DenialReason,
    NoUserIdentityError,
    SessionClosedError,
    optional_tool,
    register_identity_source,
    requires_scopes,
    user_session,
    with_user_client,
)
from obo_kit.identity._user import UserIdentity, resolve


def look_at_space(client):
    return client.genie.get_space(SPACE)


class Renewing:
    """A runtime that hands out one token after the other, all of the same user."""

    name = "renewing"

    def __init__(self, workspace, *tokens):
        self._workspace = workspace
        self._tokens = list(tokens)

    def capture(self):
        return UserIdentity.from_token(
            host=self._workspace.host, token=self._tokens.pop(0), principal="alice", source=self.name
        )


@pytest.mark.parametrize(
    ("renewed", "reason"),
    [(["genie", "sql"], DenialReason.ACCESS_DENIED), (["sql"], DenialReason.MISSING_SCOPE)],
)
def test_an_empty_refusal_is_explained_by_what_the_renewed_token_carries(workspace, renewed, reason):
    register_identity_source(
        Renewing(
            workspace,
            workspace.token("alice", scopes=["sql"], expires_in=5),  # about to expire: renewed at the first request
            workspace.token("alice", scopes=renewed),
        )
    )
    workspace.add_fault(status=403, body="", path_prefix="/api/2.0/genie")
    with user_session() as session:
        optional_tool(with_user_client(look_at_space))()
        assert session.identity.scopes == frozenset(renewed)
    assert [denial.reason for denial in session.denials] == [reason]


def test_a_developer_s_denial_names_the_developer(workspace):
    tool = optional_tool(requires_scopes("genie")(with_user_client(look_at_space)))
    with workspace.as_notebook("carol"), user_session() as session:
        tool()
        assert session.identity.principal == "carol@example.com"
        assert [denial.principal for denial in session.denials] == ["carol@example.com"]


def test_a_session_that_ended_says_whose_it_was_and_holds_no_token(workspace):
    with as_user(workspace, "alice") as session:
        assert me(session.client) == "alice"
    assert session.closed
    assert session.identity.principal == "alice@example.com"
    assert "alice@example.com" in repr(session)
    assert session.identity.released
    with pytest.raises(SessionClosedError):
        resolve(session.identity)


def test_a_session_without_a_user_has_no_identity_to_show(workspace):
    with workspace.as_app(), user_session(required=False) as session:
        assert session.user is None
        with pytest.raises(NoUserIdentityError):
            _ = session.identity


def test_tokens_of_unknown_users_are_told_apart_without_being_kept(workspace):
    first = UserIdentity.from_token(host=workspace.host, token=unsigned({}))
    assert first.principal is None
    assert "_fingerprint" not in repr(first)
