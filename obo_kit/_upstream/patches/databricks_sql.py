"""Patch the SQL connector, which authors give a session's credentials by hand. Read in databricks-sql-connector 4.2 and 4.9."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from obo_kit._upstream.patches._mechanics import once

__all__: list[str] = []

MODULES = ("databricks.sql.client",)


@once
def patch(module: Any, build: Callable[[Any, dict[str, Any], Callable[[], None]], None]) -> None:
    """Let a function build each connection of the package's own class.

    Args:
        module: One of `MODULES`, once it is loaded.
        build: Takes a connection, the arguments that it is built from, and a function that builds it from them. It may change
            the arguments before.
    """
    kind = module.Connection
    theirs = kind.__init__
    signature = inspect.signature(theirs)

    @functools.wraps(theirs)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        if type(self) is not kind:
            theirs(self, *args, **kwargs)
            return
        bound = signature.bind(self, *args, **kwargs)
        arguments = {name: value for name, value in bound.arguments.items() if name not in ("self", "kwargs")}
        arguments.update(bound.arguments.get("kwargs", {}))
        build(self, arguments, lambda: theirs(self, **arguments))

    kind.__init__ = __init__
