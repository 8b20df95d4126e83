"""Flask: the headers are handed over.

Run: flask --app examples/apps/flask_app.py run
"""

from collections.abc import Iterator

from databricks.sdk import WorkspaceClient
from flask import Flask, Response, request

from obo_kit import user_session, with_user_client
from obo_kit.integrations.errors import answer_refusals

app = Flask(__name__)
answer_refusals(app)  # a call without a user: 401, and a line for whoever called


@with_user_client
def whoami(client: WorkspaceClient) -> str:
    return client.current_user.me().user_name or ""


@app.get("/")
@user_session(headers=lambda: request.headers)
def answer() -> str:
    return whoami()


@app.get("/stream")
@user_session(headers=lambda: request.headers)  # here, too: once a stream has begun, it is too late for a 401
def stream() -> Response:
    @user_session(headers=request.headers)  # read here: a stream begins when the view has returned
    def answers() -> Iterator[str]:
        for _ in range(2):
            yield whoami() + "\n"

    return Response(answers())
