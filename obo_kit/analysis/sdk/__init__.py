"""The requests of the Databricks SDK's methods."""
