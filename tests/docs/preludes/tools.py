import os
from unittest import mock

from obo_kit import optional_tool, requires_scopes, user_session
from obo_kit.testing import LocalWorkspace

workspace = stack.enter_context(LocalWorkspace())
workspace.add_user("alice")
workspace.add_user("agent")
workspace.add_warehouse("wh1")
workspace.add_table("main.support.tickets", [{"id": 1}])
workspace.add_index("main.support.articles", [{"id": 1, "text": "A refund."}], primary_key="id", text_column="text")
workspace.add_genie_space("space1", warehouse_id="wh1", tables=["main.support.tickets"], answers={})
for user in ("alice", "agent"):
    workspace.grant(user, "SELECT", "main.support.articles")
    workspace.grant(user, "CAN RUN", "space1")
own = {"DATABRICKS_HOST": workspace.host, "DATABRICKS_TOKEN": workspace.token("agent")}  # the agent's credentials
stack.enter_context(mock.patch.dict(os.environ, own))
session = stack.enter_context(user_session(host=workspace.host, token=workspace.token("alice")))
