"""Change the schema of a tool that its framework has already built."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, create_model

__all__ = ["without"]


def without(schema: Any, hidden: frozenset[str]) -> Any:
    """Return a JSON schema or pydantic model without the injected parameters, which the framework took for the model's."""
    if isinstance(schema, dict):
        shown = {name: part for name, part in schema.get("properties", {}).items() if name not in hidden}
        needed = [name for name in schema.get("required", ()) if name not in hidden]
        return {**schema, "properties": shown, "required": needed}
    if not (isinstance(schema, type) and issubclass(schema, BaseModel)) or hidden.isdisjoint(schema.model_fields):
        return schema
    fields: dict[str, Any] = {
        name: (field.annotation, field) for name, field in schema.model_fields.items() if name not in hidden
    }
    return create_model(schema.__name__, __config__=schema.model_config, __doc__=schema.__doc__, **fields)
