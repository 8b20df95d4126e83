"""What a tool costs in Python calls: to decorate one function with the three decorators, and to call it when all is warm.

``python benchmarks/tool_calls.py`` prints the figures, and fails where one is over its bound.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from databricks.sdk import WorkspaceClient

from obo_kit import optional_tool, requires_scopes, user_session, with_user_client

CALLS_TO_DECORATE = 119  # Python 3.11; fewer from 3.12 on, where comprehensions are no calls
MODULES_OF_A_CALL = 10
CHANGES_OF_MODULE = 25


def find(client: WorkspaceClient, question: str, limit: int = 3) -> str:  # noqa: ARG001
    """Find things.

    Args:
        client: The handle.
        question: What to find.
        limit: How many.
    """
    return f"{question} {limit}"


def decorated() -> Callable[..., str]:
    return optional_tool(requires_scopes("sql")(with_user_client(find)))


def profiled(run: Callable[[], Any]) -> list[str]:
    """Return the module of each Python function that is called, in order."""
    modules: list[str] = []

    def see(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            modules.append(str(frame.f_globals.get("__name__")))

    sys.setprofile(see)
    try:
        run()
    finally:
        sys.setprofile(None)
    return modules


def main() -> int:
    """Print the figures."""
    decorated()
    to_decorate = len(profiled(decorated))
    tool = decorated()
    with user_session(host="https://example.cloud.databricks.com", token="token") as session:
        session._clients["WorkspaceClient"] = object()
        for _ in range(3):
            tool("q")
        modules = [module for module in profiled(lambda: tool("q")) if module != __name__]
    kit = [module for module in modules if module.startswith("obo_kit")]
    changes = sum(before != after for before, after in itertools.pairwise(kit))
    figures = {
        "calls to decorate one function with the three": (to_decorate, CALLS_TO_DECORATE),
        "modules of a warm, allowed call": (len(set(kit)), MODULES_OF_A_CALL),
        "changes of module of a warm, allowed call": (changes, CHANGES_OF_MODULE),
    }
    for name, (figure, bound) in figures.items():
        print(f"{name}: {figure} (bound: {bound})")
    print(f"calls of a warm, allowed call: {len(modules)}")
    return any(figure > bound for figure, bound in figures.values())


if __name__ == "__main__":
    raise SystemExit(main())
