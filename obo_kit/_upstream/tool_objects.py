"""The classes of tools, and of what makes or holds them, by the integration that knows them.

Read in langchain-core 0.3 to 1.8, langchain-mcp-adapters 0.1 to 0.3, unitycatalog-langchain 0.3, openai-agents 0.19 and
0.20, databricks-openai 0.16 to 0.18.
"""

from __future__ import annotations

__all__: list[str] = []

TOOL_OBJECTS: dict[str, tuple[tuple[str, str], ...]] = {
    "langchain": (
        ("langchain_core", "BaseTool"),
        ("langchain_mcp_adapters", "MultiServerMCPClient"),
        ("unitycatalog", "UCFunctionToolkit"),
    ),
    "openai": (
        ("agents", "FunctionTool"),
        ("agents", "MCPServer"),
        ("databricks_openai", "VectorSearchRetrieverTool"),
        ("databricks_openai", "ToolInfo"),
        ("databricks_openai", "McpServerToolkit"),
    ),
}
"""A package and a class of it; classes derived from these count."""
