"""Apps, a Streamlit page over a SQL warehouse.

Run: streamlit run agent.py
"""

from collections.abc import Iterator

import streamlit as st
from databricks.sdk import WorkspaceClient

WAREHOUSE = "a1b2c3d4e5f6"


def query(statement: str, user_token: str) -> list[list[str]]:
    client = WorkspaceClient(token=user_token, auth_type="pat")
    response = client.statement_execution.execute_statement(statement, WAREHOUSE)
    if response.status.error:
        raise RuntimeError(response.status.error.message)
    return response.result.data_array


def totals(user_token: str) -> Iterator[str]:
    for name in ("sales.revenue", "staff.salaries"):
        try:
            (row,) = query(f"SELECT sum(total) FROM main.{name}", user_token)
            yield f"{name}: {row[0]}\n\n"
        except Exception as error:
            yield f"{name}: {error}\n\n"


if __name__ == "__main__":
    st.write_stream(totals(st.context.headers.get("X-Forwarded-Access-Token")))
