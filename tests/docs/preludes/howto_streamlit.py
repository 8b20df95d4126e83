import sys
import types

from databricks.sdk import WorkspaceClient
from fastapi import FastAPI

from obo_kit import user_session, with_user_client

workspace = open_workspace()
# It needs an environment of its own, where tests/frameworks/test_chainlit.py runs the block.
sys.modules["chainlit"] = types.SimpleNamespace(on_message=lambda fn: fn, Message=str)
sys.modules["chainlit.server"] = types.SimpleNamespace(app=FastAPI())


@with_user_client
def whoami(client: WorkspaceClient) -> str:
    return client.current_user.me().user_name
