"""Read what client objects of other packages reach, and the clients that they hold.

Nothing is imported for it, and nothing is sent.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from obo_kit._upstream import classes
from obo_kit._upstream.classes import Class, is_a
from obo_kit._upstream.litellm import endpoints_of

__all__: list[str] = []


@dataclass(frozen=True, kw_only=True, slots=True)
class Reach:
    """The contents of one client object.

    Attributes:
        named: Resources by their kind and name.
        resources: MLflow resources.
        url: The address of an MCP server.
        client: The client that it uses, or whatever holds one; `None` if it does not say.
        agent_s: Whether it acts as the agent, whatever client it receives.
        holds: Whether it holds more than its client, such as tools.
    """

    named: tuple[tuple[str, str], ...] = ()
    resources: tuple[Any, ...] = ()
    url: str | None = None
    client: Any = None
    agent_s: bool = False
    holds: bool = False


def reach_of(value: object) -> Reach | None:
    """Return what an object reaches; `None` if it is of no known class."""
    for base in type(value).__mro__:
        read = _READERS.get((base.__module__.partition(".")[0], base.__name__))
        if read is not None:
            return read(value)
    asked = endpoints_of(value)
    return Reach(named=_endpoints(*asked), agent_s=True, holds=True) if asked else None


def default_openai_client() -> Any:
    """Return the client that the OpenAI Agents SDK asks for models in this process; `None` if there is none."""
    shared = sys.modules.get("agents.models._openai_shared")
    return shared.get_default_openai_client() if shared is not None else None


def configs_of(client: Any) -> list[Any]:
    """Return the configurations of a client: its own, and those of the workspace client that it was made of."""
    return [
        getattr(client, "config", None),
        getattr(getattr(client, "_api", None), "_cfg", None),
        getattr(getattr(client, "_workspace_client", None), "config", None),
    ]


def is_model_serving_user_s(config: Any) -> bool:
    """Check whether a configuration of the Databricks SDK takes the user's credentials from Model Serving."""
    return is_a(getattr(config, "_credentials_strategy", None), classes.MODEL_SERVING_USER)


def _named(kind: str, *names: object) -> tuple[tuple[str, str], ...]:
    return tuple((kind, name) for name in names if isinstance(name, str) and name)


def _endpoints(*names: object) -> tuple[tuple[str, str], ...]:
    # A name with dots is a Unity Catalog model behind the AI gateway, not an endpoint.
    return _named("serving_endpoint", *(name for name in names if "." not in str(name)))


def _endpoint(name: object, client: object = None) -> Reach:
    return Reach(named=_endpoints(name), client=client)


def _functions(names: Iterable[object], warehouse: object) -> Reach:
    return Reach(named=(*_named("uc_function", *names), *_named("sql_warehouse", warehouse)))


def _of_databricks(model: object, client: object) -> Reach:
    return _endpoint(model, client) if is_a(client, classes.ASYNC_DATABRICKS_OPENAI) else Reach()


def _of_agent(agent: Any) -> Reach:
    if asked := endpoints_of(agent):
        return Reach(named=_endpoints(*asked), agent_s=True, holds=True)
    # An agent names its model; the process's own setting decides which client asks it.
    return replace(_of_databricks(agent.model, default_openai_client()), holds=True)


_BY_CLASS: tuple[tuple[Class, Callable[[Any], Reach]], ...] = (
    (classes.CHAT_DATABRICKS, lambda model: _endpoint(model.model, model.workspace_client)),
    (classes.DATABRICKS_EMBEDDINGS, lambda embeddings: _endpoint(embeddings.endpoint)),
    (classes.RETRIEVER, lambda tool: Reach(resources=tuple(tool.resources or ()), client=tool.workspace_client)),
    (classes.SEARCH_INDEX, lambda index: Reach(named=_named("vector_search_index", index.name))),
    (classes.GENIE, lambda genie: Reach(named=_named("genie_space", genie.space_id), client=genie.genie)),
    (
        classes.UC_LANGCHAIN_TOOL,
        lambda tool: _functions([tool.uc_function_name], tool.client_config.get("warehouse_id")),
    ),
    (
        classes.UC_TOOLKIT,
        lambda toolkit: _functions(toolkit.tools_dict, getattr(toolkit.client, "warehouse_id", None)),
    ),
    (
        classes.LAKEBASE,
        lambda base: Reach(named=_named("lakebase", base.instance_name), client=base.workspace_client),
    ),
    (classes.DATABRICKS_MCP_CLIENT, lambda client: Reach(url=client.server_url, client=client.client)),
    (classes.OPENAI_TOOLKIT, lambda toolkit: Reach(url=toolkit.url, client=toolkit.workspace_client)),
    (
        classes.DATABRICKS_AGENTS_SERVER,
        lambda server: Reach(url=server.params["url"], client=server.workspace_client),
    ),
    (classes.LANGCHAIN_MCP_SERVER, lambda server: Reach(url=server.url, client=server.workspace_client)),
    (classes.AGENTS_MODEL, lambda model: _of_databricks(model.model, model._client)),
    (classes.AGENTS_AGENT, _of_agent),
)
_READERS = {pair: read for known, read in _BY_CLASS for pair in known.by_package}
