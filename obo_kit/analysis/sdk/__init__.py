"""Find the requests of the Databricks SDK's methods."""
