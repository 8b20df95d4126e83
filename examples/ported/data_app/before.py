"""Apps, a Streamlit page over a SQL warehouse.

Run: streamlit run before.py
"""

import streamlit as st
from databricks.sdk import WorkspaceClient

WAREHOUSE = "a1b2c3d4e5f6"


def query(statement: str, user_token: str) -> list[list[str]]:
    client = WorkspaceClient(token=user_token, auth_type="pat")
    response = client.statement_execution.execute_statement(statement, WAREHOUSE)
    if response.status.error:
        raise RuntimeError(response.status.error.message)
    return response.result.data_array


if __name__ == "__main__":
    user_token = st.context.headers.get("X-Forwarded-Access-Token")
    for name in ("sales.revenue", "staff.salaries"):
        try:
            (row,) = query(f"SELECT sum(total) FROM main.{name}", user_token)
            st.write(f"{name}: {row[0]}")
        except Exception as error:
            st.write(f"{name}: {error}")
