"""Read from an agent's client objects which resources they reach, and as whom.

An object that is built while an agent file loads acts with system authorization, unless it received a client of the user's.
Objects are recognized by their class names: nothing is imported for that, and nothing is sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from obo_kit._upstream.classes import DATABRICKS_MCP_PROVIDER, RETRIEVER, is_a
from obo_kit._upstream.client_objects import configs_of, is_model_serving_user_s, reach_of
from obo_kit.exceptions import PolicyError
from obo_kit.identity._credentials import lease_of
from obo_kit.scopes._lookup import KINDS, kind_of
from obo_kit.tools._registry import Declaration
from obo_kit.tools._spec import Requirement

if TYPE_CHECKING:
    from mlflow.models.resources import DatabricksResource

__all__: list[str] = []


@dataclass(frozen=True, kw_only=True)
class McpServer:
    """A managed MCP server that stands for a resource.

    Attributes:
        name: Its path after ``/api/2.0/mcp/``, such as ``genie/01f0ea87``.
    """

    name: str


@dataclass(frozen=True, kw_only=True)
class Found:
    """The reach of one client object.

    Attributes:
        by: The name of its class.
        user: Whether it acts as the user.
        resources: MLflow resources.
        own: The resources that the agent itself reaches, if the others are the user's.
        server: The managed MCP server that it talks to.
        holds: Whether it holds more than its client, such as tools.
    """

    by: str
    user: bool = False
    resources: tuple[DatabricksResource, ...] = ()
    own: tuple[DatabricksResource, ...] = ()
    server: McpServer | None = None
    holds: bool = False


def _resource(kind: str, name: object) -> list[Any]:
    """Return the MLflow resource in a list; an empty list if the name is unusable."""
    import mlflow.models.resources as known

    return [getattr(known, KINDS[kind].mlflow_classes[0])(name)] if isinstance(name, str) and name else []


def found_in(value: object, user: bool = False) -> Found | None:
    """Return what an object reaches; `None` if it is not a known client.

    Args:
        value: The object.
        user: Whether it acts as the user, whatever client it holds.
    """
    reach = reach_of(value)
    if reach is None:
        return None
    by = type(value).__name__
    user = (user or _user_s(reach.client)) and not reach.agent_s
    if reach.url is not None:
        return _behind(reach.url, by, user)
    resources = [*reach.resources, *(resource for kind, name in reach.named for resource in _resource(kind, name))]
    # The agent itself asks the model that embeds a retriever tool's questions.
    own = [
        each for each in resources if user and is_a(value, RETRIEVER) and kind_of(each).name != "vector_search_index"
    ]
    others = tuple(each for each in resources if each not in own)
    return Found(by=by, user=user, resources=others, own=tuple(own), holds=reach.holds)


def needs_of(tool: object) -> tuple[Requirement, ...]:
    """Return what a tool object that acts as the user requires: its index, or its server's address."""
    connections = getattr(tool, "connections", None)  # of LangChain's client of several MCP servers
    if isinstance(connections, dict):
        ours = [each for each in connections.values() if is_a(each.get("auth"), DATABRICKS_MCP_PROVIDER)]
        reached = [_behind(str(each.get("url")), "", user=True) for each in ours]
    else:
        reached = [client for client in (found_in(tool, user=True),) if client is not None]
    return tuple(item for client in reached for item in _required(client))


def _required(client: Found) -> tuple[Requirement, ...]:
    named = tuple(Requirement(resource=resource, kind=kind_of(resource)) for resource in client.resources)
    return (*named, requirement_of(client.server)) if client.server is not None else named


def _user_s(client: Any) -> bool:
    """Return whether a client, one of its API objects, or an OpenAI client made of it, acts as the user."""
    return lease_of(client) is not None or any(
        lease_of(config) is not None or is_model_serving_user_s(config)  # a client of the kit's, or theirs
        for config in configs_of(client)
    )


# --- MCP servers ----------------------------------------------------------------------------------------------------------

_MANAGED = "/api/2.0/mcp/"
# By kind of server: the kind of resource that it leads to, and the number of path segments that name it.
_SERVERS = {
    "genie": ("mcp_genie", "genie_space", 1),
    "functions": ("mcp_functions", "uc_function", 3),
    "vector-search": ("mcp_vectorsearch", "vector_search_index", 3),
    "ai-search": ("mcp_ai_search", "vector_search_index", 3),
    "external": ("mcp_external", "uc_connection", 1),
    "sql": ("mcp_sql", "sql_warehouse", 1),
}
# <app>-<workspace id>.<region>.databricksapps.com. The position of the app's name is inferred from the addresses of apps.
_APP = re.compile(r"(?P<app>[a-z0-9-]+?)(-\d+)?\.([a-z0-9.-]+\.)?databricksapps\.com")


def _behind(url: str, by: str, user: bool) -> Found:
    parts = urlsplit(url)
    if app := _APP.fullmatch(parts.hostname or ""):
        return Found(by=by, user=user, resources=tuple(_resource("databricks_app", app["app"])))
    name = unquote(parts.path.removeprefix(_MANAGED).strip("/"))
    if not parts.path.startswith(_MANAGED) or name.partition("/")[0] not in _SERVERS:
        return Found(by=by, user=user)  # not a resource of this workspace
    server = McpServer(name=name)
    if user:
        return Found(by=by, user=True, server=server)
    _, kind, needed = _SERVERS[name.partition("/")[0]]
    named = name.split("/")[1:]
    if len(named) != needed:
        return Found(by=by, server=server)
    return Found(by=by, resources=tuple(_resource(kind, ".".join(named))))


def requirement_of(server: McpServer) -> Requirement:
    """Return the requirement of talking to a managed MCP server as the user."""
    return Requirement(resource=server, kind=KINDS[_SERVERS[server.name.partition("/")[0]][0]])


def declared_by(clients: Iterable[Found], declared: Iterable[Any]) -> Iterator[Declaration]:
    """Yield the declarations that client objects amount to.

    Args:
        clients: The client objects that were found.
        declared: Resources that are also declared for the system.

    Raises:
        PolicyError: A server reaches resources with system authorization, its address does not name them, and none of them
            is declared.
    """
    system = [(kind_of(resource).name, str(resource.name)) for resource in declared]
    for client in clients:
        if client.user:
            yield Declaration(tool=client.by, module="", requirements=_required(client))
            yield Declaration(tool="", module="", system=client.own)
        elif client.server is None:
            yield Declaration(tool="", module="", system=client.resources)
        else:
            _, kind, _ = _SERVERS[client.server.name.partition("/")[0]]
            within = "".join(f"{part}." for part in client.server.name.split("/")[1:])
            if not any(name.startswith(within) for other, name in system if other == kind):
                raise _unnamed(client, KINDS[kind].mlflow_classes[0], within)


def _unnamed(client: Found, cls: str, within: str) -> PolicyError:
    server = client.server.name if client.server is not None else ""
    return PolicyError(
        f"{client.by} talks to the MCP server '{server}' with system authorization, but its address does not name the "
        "resources that it reaches.",
        remedy=f"Declare them: system_resources({cls}('{within}…')). DatabricksMCPClient.get_databricks_resources() lists "
        "them. Or pass the user's client, inside the request.",
    )
