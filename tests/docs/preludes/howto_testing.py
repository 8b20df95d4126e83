from pathlib import Path

config = Path("databricks.yml")
config.write_text(config.read_text() + "      user_api_scopes: [sql]\n")
