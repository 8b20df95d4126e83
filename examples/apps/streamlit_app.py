"""Streamlit: the headers are those of the page's websocket, so the token ages until the page is loaded again.

Run: streamlit run examples/apps/streamlit_app.py
"""

import streamlit as st
from databricks.sdk import WorkspaceClient

from obo_kit import user_session, with_user_client


@with_user_client
def whoami(client: WorkspaceClient) -> str:
    return client.current_user.me().user_name or ""


with user_session(headers=st.context.headers):
    st.write(whoami())
