"""Dash: its callbacks are Flask requests.

Run: python examples/apps/dash_app.py
"""

from dash import Dash, Input, Output, callback, html
from databricks.sdk import WorkspaceClient
from flask import request

from obo_kit import user_session, with_user_client

app = Dash(__name__)
app.layout = html.Div([html.Button("Who am I?", id="ask"), html.P(id="answer")])


@with_user_client
def whoami(client: WorkspaceClient) -> str:
    return client.current_user.me().user_name or ""


@callback(Output("answer", "children"), Input("ask", "n_clicks"), prevent_initial_call=True)
@user_session(headers=lambda: request.headers)
def answer(clicks: int) -> str:
    return whoami()


if __name__ == "__main__":
    app.run()
