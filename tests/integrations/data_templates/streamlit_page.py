"""A page as the Streamlit template has it: a connection per run, with the token of the page's headers."""

import pandas as pd
import streamlit as st
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


trips = query("SELECT * FROM samples.nyctaxi.trips LIMIT 5000", st.context.headers.get("X-Forwarded-Access-Token"))
st.header("Taxi fares")
st.scatter_chart(data=trips, y="fare_amount", x="trip_distance")
st.write(f"{len(trips)} trips of {', '.join(sorted(set(trips.driver)))}, {trips.fare_amount.sum():.2f} in all")
st.dataframe(data=trips)
