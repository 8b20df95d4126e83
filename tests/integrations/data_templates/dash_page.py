"""A page as the Dash template has it: a callback reads the token off Flask's request."""

import dash
import flask
import pandas as pd
from dash import Input, Output, dcc, html
from databricks import sql
from databricks.sdk.core import Config

cfg = Config()


def query(statement: str, token: str | None) -> pd.DataFrame:
    path = f"/sql/1.0/warehouses/{cfg.warehouse_id}"
    with (
        sql.connect(server_hostname=cfg.host, http_path=path, access_token=token) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
        return cursor.fetchall_arrow().to_pandas()


app = dash.Dash(__name__)
app.layout = html.Div([dcc.Store(id="loaded", data=0), dcc.Graph(id="fares"), html.Div(id="said")])


@app.callback(Output("fares", "figure"), Output("said", "children"), Input("loaded", "data"))
def show(_loaded: int):
    token = flask.request.headers.get("X-Forwarded-Access-Token")
    trips = query("SELECT * FROM samples.nyctaxi.trips LIMIT 5000", token)
    figure = {"data": [{"type": "scatter", "x": list(trips.trip_distance), "y": list(trips.fare_amount)}]}
    drivers = ", ".join(sorted(set(trips.driver)))
    return figure, f"{len(trips)} trips of {drivers}, {trips.fare_amount.sum():.2f} in all"
