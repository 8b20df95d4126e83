"""What each thing that the kit knows of another package's inside is good for: a rename there changes what is seen here."""

from __future__ import annotations

import ssl
from typing import Annotated

import pytest
import requests
from databricks.sdk import WorkspaceClient
from support import INDEX, as_user, extra, me

from obo_kit import with_user_client
from obo_kit.clients._connections import Pool


def test_no_connection_parses_a_bundle_again():
    """`HTTPAdapter.build_connection_pool_key_attributes` and `cert_verify`: the shared context holds the authorities."""
    pool = Pool(ssl.create_default_context())
    request = requests.Request("GET", "https://example.com/").prepare()
    connections = pool.get_connection_with_tls_context(request, verify=True)
    assert (connections.ca_certs, connections.conn_kw["ssl_context"]) == (None, pool.context)
    pool.cert_verify(connections, "https://example.com/", True, None)
    assert (connections.ca_certs, connections.cert_reqs) == (None, "CERT_REQUIRED")


def test_an_index_of_the_user_s_asks_for_no_embedding_endpoint(workspace):
    """`AISearchClient._fetch_index_params`: only a service principal's tokens are narrowed to it."""
    with as_user(workspace, "alice") as session:
        client = session.get_named("VectorSearchClient")
        parameters = client._fetch_index_params(None, INDEX)
        index = client.get_index(index_name=INDEX)
    endpoints = {name: value for name, value in parameters.items() if "mlserving" in name}
    assert set(endpoints.values()) == {None}
    assert index.mlserving_endpoint_id is None


@pytest.mark.parametrize("seen", ["before", "not yet"])
def test_a_langchain_tool_forgets_the_arguments_that_it_saw_before_it_was_decorated(workspace, seen):
    """`BaseTool._injected_args_keys`: kept from the signature that still showed the client."""
    tool = extra("langchain_core.tools", "tool")
    from langchain_core.tools import InjectedToolArg

    def find(question: str, client) -> str:
        """Ask."""
        return f"{question} {me(client)}"

    find.__annotations__["client"] = Annotated[WorkspaceClient, InjectedToolArg]
    made = tool(find)
    if seen == "before":
        assert "client" in made._injected_args_keys
    with_user_client(made)
    assert "client" not in made._injected_args_keys
    with as_user(workspace, "alice"):
        assert made.invoke({"question": "q", "client": "mine"}) == "q alice"
