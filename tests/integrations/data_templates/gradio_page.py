"""A page as the Gradio template has it: a click reads the token off the request, and a render queries with it."""

import gradio as gr
import pandas as pd
from databricks import sql
from databricks.sdk.core import Config

cfg = Config()


def query(statement: str, token: str) -> pd.DataFrame:
    path = f"/sql/1.0/warehouses/{cfg.warehouse_id}"
    with (
        sql.connect(server_hostname=cfg.host, http_path=path, access_token=token) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
        return cursor.fetchall_arrow().to_pandas()


def token_of(request: gr.Request) -> str:
    return request.headers.get("X-Forwarded-Access-Token", "no token")


def summary(token: str) -> str:
    trips = query("SELECT * FROM samples.nyctaxi.trips LIMIT 5000", token)
    return f"{len(trips)} trips of {', '.join(sorted(set(trips.driver)))}, {trips.fare_amount.sum():.2f} in all"


with gr.Blocks() as demo:
    button = gr.Button("Run Query")
    held = gr.Textbox(visible=False)
    shown = gr.Textbox()
    button.click(fn=token_of, inputs=[], outputs=[held], api_name="token").then(
        fn=summary, inputs=[held], outputs=[shown], api_name="summary"
    )
