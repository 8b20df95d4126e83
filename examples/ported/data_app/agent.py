"""Apps, a Streamlit page over a SQL warehouse.

Run: streamlit run agent.py
"""

from collections.abc import Iterator

import streamlit as st
from databricks.sdk import WorkspaceClient
from mlflow.models.resources import DatabricksSQLWarehouse
from obo_kit import raise_for_denial, user_session, user_tool

WAREHOUSE = "a1b2c3d4e5f6"


@user_tool(DatabricksSQLWarehouse(WAREHOUSE), fallback=[["not available to you"]])
def query(client: WorkspaceClient, statement: str) -> list[list[str]]:
    response = client.statement_execution.execute_statement(statement, WAREHOUSE)
    return raise_for_denial(response).result.data_array


def totals() -> Iterator[str]:
    for name in ("sales.revenue", "staff.salaries"):
        (row,) = query(f"SELECT sum(total) FROM main.{name}")
        yield f"{name}: {row[0]}\n\n"


if __name__ == "__main__":
    with user_session(headers=st.context.headers):
        st.write_stream(totals)
