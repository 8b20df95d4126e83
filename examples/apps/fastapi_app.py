"""FastAPI, or any other ASGI server: the kit's middleware keeps each request's headers.

Run: uvicorn --app-dir examples/apps fastapi_app:app
"""

import asyncio
from collections.abc import Iterator

from databricks.sdk import WorkspaceClient
from fastapi import FastAPI, WebSocket
from fastapi.responses import StreamingResponse

from obo_kit import user_session, with_user_client
from obo_kit.integrations.asgi import UserHeadersMiddleware
from obo_kit.integrations.errors import answer_refusals

app = FastAPI()
app.add_middleware(UserHeadersMiddleware)
answer_refusals(app)  # a call without a user: 401, and a line for whoever called


@with_user_client
def whoami(client: WorkspaceClient) -> str:
    return client.current_user.me().user_name or ""


@app.get("/")
@user_session
def answer() -> str:
    return whoami()


@app.get("/stream")
@user_session  # here, too: once a stream has begun, it is too late for a 401
def stream() -> StreamingResponse:
    @user_session
    def answers() -> Iterator[str]:
        for _ in range(2):
            yield whoami() + "\n"

    return StreamingResponse(answers())


@app.websocket("/chat")
async def chat(websocket: WebSocket) -> None:
    await websocket.accept()
    async for _ in websocket.iter_text():
        async with user_session():  # per message: a session kept as long as the socket would outlive its token
            await websocket.send_text(await asyncio.to_thread(whoami))  # the client waits, and the server goes on
