"""Gradio: a function that asks for it is handed the request. Its functions run in a queue, outside of any ASGI middleware.

Run: python examples/apps/gradio_app.py
"""

import gradio as gr
from databricks.sdk import WorkspaceClient

from obo_kit import user_session, with_user_client


@with_user_client
def whoami(client: WorkspaceClient) -> str:
    return client.current_user.me().user_name or ""


def answer(request: gr.Request) -> str:
    with user_session(headers=request.headers):
        return whoami()


with gr.Blocks() as demo:
    said = gr.Textbox()
    gr.Button("Who am I?").click(answer, outputs=said, api_name="whoami")

if __name__ == "__main__":
    demo.launch()
