"""A chat page of Chainlit, as docs/howto/streamlit.md writes it, asked through its own socket. `make test-frameworks`."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
import requests
from databricks.sdk import WorkspaceClient
from support import calls, free_port, me

from obo_kit import with_user_client

# Importing it would leave its settings in this folder.
if importlib.util.find_spec("chainlit") is None:
    pytest.skip("needs Chainlit", allow_module_level=True)
socketio = pytest.importorskip("socketio")

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
PAGE = Path(__file__).parents[2] / "docs/howto/streamlit.md"


@with_user_client
def whoami(client: WorkspaceClient) -> str:
    return me(client)


async def chat(address: str, headers: dict[str, str]) -> list[str]:
    """Send two messages from a browser's page. Return the answers."""
    answers: list[str] = []
    browser = socketio.AsyncClient()
    browser.on("new_message", lambda step: answers.append(step["output"]) if step["type"] == "assistant_message" else 0)
    page = {"clientType": "webapp", "sessionId": str(uuid.uuid4()), "userEnv": "{}", "chatProfile": ""}
    await browser.connect(address, socketio_path="/ws/socket.io", headers=headers, auth=page)
    await browser.emit("connection_successful")
    for number in (1, 2):
        await asyncio.sleep(1)
        question = {
            "id": str(uuid.uuid4()),
            "name": "me",
            "type": "user_message",
            "output": "Who am I?",
            "createdAt": "",
        }
        await browser.emit("client_message", {"message": question, "fileReferences": []})
        for _ in range(40):
            await asyncio.sleep(0.1)
            if len(answers) == number:
                break
    await browser.disconnect()
    return answers


def test_each_message_runs_as_the_user_of_its_connection(furnished_workspace, tmp_path):
    """Rules 1 and 3: three pages are open at the same time, one of them without a user."""
    block = PAGE.read_text("utf-8").partition("## Chainlit")[2].partition("```python\n")[2].partition("```")[0]
    (tmp_path / "page.py").write_text(f"from test_chainlit import whoami\n{block}")
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "chainlit", "run", "page.py", "--headless", "--port", str(port)]
    with furnished_workspace.as_app() as app:
        path = os.pathsep.join([os.environ["PYTHONPATH"], *filter(None, sys.path)])
        server = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path})
        try:
            while server.poll() is None:
                with contextlib.suppress(requests.ConnectionError):
                    requests.get(address, timeout=60)
                    break
                time.sleep(0.2)

            async def everybody() -> list[list[str]]:
                headers = [app.headers("alice"), app.headers("bob"), {}]
                return list(await asyncio.gather(*(chat(address, one) for one in headers)))

            alice, bob, nobody = asyncio.run(everybody())
        finally:
            server.kill()
            server.wait()
    assert (alice, bob) == (["alice"] * 2, ["bob"] * 2)
    assert not {"alice", "bob"} & set(nobody)
    assert sorted(record.user for record in calls(furnished_workspace)) == ["alice"] * 2 + ["bob"] * 2
