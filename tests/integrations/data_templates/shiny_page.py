"""A page as the Shiny template has it: a task with a connection of the user and one of the app, in a thread."""

import asyncio

from databricks import sql
from databricks.sdk.core import Config
from shiny import App, reactive, render, ui

cfg = Config()


def execute(connection, statement, max_rows=10000):
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchmany_arrow(max_rows)


def server(input, output, session):
    @reactive.extended_task
    async def run(statement: str):
        path = f"/sql/1.0/warehouses/{cfg.warehouse_id}"
        token = session.http_conn.headers.get("X-Forwarded-Access-Token", None)
        users = sql.connect(server_hostname=cfg.host, http_path=path, access_token=token)
        apps = sql.connect(server_hostname=cfg.host, http_path=path, credentials_provider=lambda: cfg.authenticate)
        try:
            return await asyncio.to_thread(execute, users, statement)
        finally:
            apps.close()
            users.close()

    @reactive.effect
    def begin():
        run("SELECT * FROM samples.nyctaxi.trips")

    @render.text
    def answer():
        trips = run.result().to_pandas()
        drivers = ", ".join(sorted(set(trips.driver)))
        return f"{len(trips)} trips of {drivers}, {trips.fare_amount.sum():.2f} in all"


app = App(ui.page_fluid(ui.output_text("answer")), server)
