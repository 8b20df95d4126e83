from databricks.sdk import WorkspaceClient

from obo_kit import user_session, with_user_client

workspace = open_workspace()


@with_user_client
def whoami(client: WorkspaceClient) -> str:
    return client.current_user.me().user_name
