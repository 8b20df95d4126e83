"""In place of the package databricks-agents, which needs a workspace of the platform: says what it would deploy."""

from __future__ import annotations

from typing import Any


def deploy(model_name: str, model_version: int | str, **options: Any) -> None:
    """Print what would be deployed."""
    assert isinstance(model_name, str)
    assert int(model_version) > 0
    print(f"deploy {model_name} {model_version} {options or ''}".rstrip())
