"""Shiny: a session's connection has the headers, so the token ages until the page is loaded again.

Shiny runs outputs in its event loop. A tool that waits runs in a thread, which keeps the session.

Run: shiny run examples/apps/shiny_app.py
"""

import asyncio

from databricks.sdk import WorkspaceClient
from shiny import App, Inputs, Outputs, Session, render, ui

from obo_kit import user_session, with_user_client


@with_user_client
def whoami(client: WorkspaceClient) -> str:
    return client.current_user.me().user_name or ""


def server(input: Inputs, output: Outputs, session: Session) -> None:
    @render.text
    @user_session(headers=lambda: session.http_conn.headers)
    async def answer() -> str:
        return await asyncio.to_thread(whoami)


app = App(ui.page_fluid(ui.output_text("answer")), server)
