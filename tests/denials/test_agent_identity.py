"""What the agent itself was refused is not said to be its user's to mend (rule 17)."""

from __future__ import annotations

import pytest
from databricks.sdk import WorkspaceClient

from obo_kit import DenialReason, explain, optional_tool, requires_scopes, with_user_client
from obo_kit.testing import LocalWorkspace


@pytest.fixture(scope="module")
def orders():
    with LocalWorkspace() as workspace:
        workspace.add_user("alice")
        workspace.add_warehouse("wh1")
        yield workspace


@pytest.mark.parametrize("runtime", ["model-serving", "apps"])
def test_a_refusal_of_the_agent_s_own_identity_names_it(orders, runtime):
    @optional_tool
    @requires_scopes("sql")
    @with_user_client
    def warehouse(client: WorkspaceClient) -> str:
        return WorkspaceClient().warehouses.get("wh1").name  # the mistake: not the client that it was handed

    orders.log.clear()
    with orders.as_user("alice", runtime=runtime, scopes=["sql"]) as session:
        agent = WorkspaceClient().config.client_id
        warehouse()
    (record,) = orders.log.filter(path="/api/2.0/sql/warehouses/wh1")
    assert record.kind == "service_principal"
    (denial,) = session.denials
    assert (denial.reason, denial.principal) == (DenialReason.ACCESS_DENIED, agent)
    assert f"grant the agent's own identity (service principal {agent}) CAN USE" in denial.remedy
    assert "alice" not in denial.remedy
    assert agent not in denial.user_message


def test_the_same_refusal_of_the_user_names_the_user(orders):
    with orders.as_user("alice", scopes=["sql"]) as session, pytest.raises(Exception, match="not authorized") as caught:
        session.client.warehouses.get("wh1")
    denial = explain(caught.value)
    assert denial.principal in (None, "alice@example.com")  # outside of the session nobody is known
    assert "agent" not in denial.remedy


def test_no_text_of_the_answer_passes_for_the_agent(orders):
    """The platform's words come first; what the SDK says of its own client comes last, and counts alone."""
    orders.add_fault(status=403, body={"error_code": "PERMISSION_DENIED", "message": "No. Config: client_id=forged"})
    with orders.as_user("alice", scopes=["sql"]) as session:
        with pytest.raises(Exception, match="forged") as caught:
            session.client.warehouses.get("wh1")
        denial = explain(caught.value)
    assert denial.principal == "alice@example.com"
    assert "own identity" not in denial.remedy
