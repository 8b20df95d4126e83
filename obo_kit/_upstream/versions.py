"""Versions in which other packages were read: those of `locks/`, on which `tests/upstream/` runs."""

from __future__ import annotations

from typing import Final

__all__: list[str] = []

REQUESTS: Final = "requests 2.34"
URLLIB3: Final = "urllib3 2.8"
HTTPX: Final = "httpx 0.28, httpx2 2.14 and 2.16"
SDK: Final = "databricks-sdk 0.120 and 0.162"
SEARCH: Final = "databricks-ai-search 0.75 and 0.81"
SQL: Final = "databricks-sql-connector 4.2 and 4.9"
SPARK: Final = "databricks-connect 16.1"
OPENAI: Final = "openai 2.54"
MCP: Final = "mcp 1.10, 1.24, 1.30 and 2.3"
DATABRICKS_MCP: Final = "databricks-mcp 0.5 and 0.9"
DATABRICKS_OPENAI: Final = "databricks-openai 0.16 and 0.18"
DATABRICKS_LANGCHAIN: Final = "databricks-langchain 0.16 and 0.22"
FASTMCP: Final = "fastmcp 4.1 and 4.2"
LANGCHAIN: Final = "langchain-core 1.7 and 1.8"
LANGGRAPH: Final = "langgraph 1.2"
LANGCHAIN_MCP: Final = "langchain-mcp-adapters 0.3"
AGENTS: Final = "openai-agents 0.19 and 0.20"
MLFLOW: Final = "mlflow 3.10 and 3.17"
BRIDGE: Final = "databricks-ai-bridge 0.20 and 0.22"
PYDANTIC: Final = "pydantic 2.13 and 2.14"
ANYIO: Final = "anyio 4.14 and 4.16"

FLASK: Final = "flask 3.1"
STARLETTE: Final = "starlette 0.46, 0.49, 1.7 and 1.10"
STREAMLIT: Final = "streamlit 1.65 and 1.67"
GRADIO: Final = "gradio 6.31"
