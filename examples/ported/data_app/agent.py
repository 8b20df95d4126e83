"""Apps, a Streamlit page over a SQL warehouse.

Run: streamlit run agent.py
"""

from collections.abc import Iterator

import streamlit as st
from databricks.sdk import WorkspaceClient
from mlflow.models.resources import DatabricksSQLWarehouse

from obo_kit import explain, optional_tool, requires_scopes, user_session, with_user_client

WAREHOUSE = "a1b2c3d4e5f6"


@optional_tool(fallback=[["not available to you"]])
@requires_scopes(DatabricksSQLWarehouse(WAREHOUSE))
@with_user_client
def query(client: WorkspaceClient, statement: str) -> list[list[str]]:
    response = client.statement_execution.execute_statement(statement, WAREHOUSE)
    if denial := explain(response):
        raise denial.error()
    return response.result.data_array


def totals() -> Iterator[str]:
    for name in ("sales.revenue", "staff.salaries"):
        (row,) = query(f"SELECT sum(total) FROM main.{name}")
        yield f"{name}: {row[0]}\n\n"


if __name__ == "__main__":
    with user_session(headers=st.context.headers):
        st.write_stream(totals)
