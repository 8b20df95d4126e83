"""The agents of examples/ported: how they are loaded, and the workspace they need. alice may use everything, bob some of it,
carol nothing but the agents themselves."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from support import PROBE

import obo_kit
from obo_kit.testing import GenieAnswer, LocalWorkspace

PORTED = Path(__file__).parents[2] / "examples" / "ported"
USERS = ("alice", "bob", "carol")
LLM = "chat-model"
WAREHOUSE, GENIE_WAREHOUSE = "a1b2c3d4e5f6", "b1b2c3d4e5f6"
SALES, STAFF = "01f0ea87c0de", "01f0ea87c0df"
FAQ, CONTRACTS = "main.support.faq", "main.legal.contracts"
QUESTION = "How much did we sell?"
REVENUE, SALARIES = "125080219467", "900417306825"  # long: an id or a clock spells a short number now and then


def source(name: str, form: str = "agent") -> Path:
    return PORTED / name / ("" if form == "agent" else form) / "agent.py"


def load(name: str, form: str = "agent") -> ModuleType:
    """A module of an example, fresh."""
    spec = importlib.util.spec_from_file_location(f"ported_{name}_{form}", source(name, form))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if (server := sys.modules.get("mlflow.genai.agent_server.server")) is not None:
        server._invoke_function = server._stream_function = None  # they may be declared once in a process
    sys.modules[spec.name] = module  # as MLflow's loader does: pydantic looks its annotations up there
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # frameworks warn about themselves when they are first loaded
        spec.loader.exec_module(module)
    return module


def by_hand(name: str) -> dict[str, Any]:
    """The policies that somebody who knows would write for an example."""
    return json.loads((PORTED / name / "policy_by_hand.json").read_text("utf-8"))


def collected(agent: Any) -> dict[str, Any]:
    """The same, collected: for Model Serving and for Apps."""
    return {"auth_policy": obo_kit.auth_policy(agent).to_dict(), "app_config": obo_kit.app_config(agent)}


def model(request: dict[str, Any]) -> str | dict[str, Any]:
    """Stands in for an LLM: calls every tool that it is offered once, then answers with what they said."""
    said = [message["content"] for message in request["messages"] if message["role"] == "tool"]
    if said or not request.get("tools"):
        return " | ".join(map(_text, said)) or f"You said: {_text(request['messages'][-1]['content'])}"
    calls = []
    for number, tool in enumerate(request["tools"]):
        if tool["function"]["name"].startswith("poll_"):  # for answers that take their time: these do not
            continue
        schema = tool["function"].get("parameters") or {}
        arguments = json.dumps(dict.fromkeys(schema.get("required") or (), QUESTION))
        function = {"name": tool["function"]["name"], "arguments": arguments}
        calls.append({"id": f"call_{number}", "type": "function", "function": function})
    return {"role": "assistant", "content": "", "tool_calls": calls}


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


@contextlib.contextmanager
def running_workspace() -> Iterator[LocalWorkspace]:
    """A furnished workspace, with the credentials of an app that may ask the LLM."""
    with LocalWorkspace() as workspace:
        furnish(workspace)
        workspace.add_service_principal("app")
        workspace.grant("app", "CAN QUERY", LLM)
        yield workspace


def furnish(workspace: LocalWorkspace) -> None:
    for user in USERS:
        workspace.add_user(user)
    for warehouse in (WAREHOUSE, GENIE_WAREHOUSE):
        workspace.add_warehouse(warehouse)
    workspace.add_table("main.sales.revenue", [{"total": int(REVENUE)}])
    workspace.add_table("main.staff.salaries", [{"total": int(SALARIES)}])
    for index, text in ((FAQ, "Refunds are paid within 14 days."), (CONTRACTS, "The contract ends in May.")):
        workspace.add_index(index, [{"id": 1, "text": text}], primary_key="id", text_column="text")
    for space, table in ((SALES, "main.sales.revenue"), (STAFF, "main.staff.salaries")):
        answer = GenieAnswer(sql=f"SELECT total FROM {table}")
        workspace.add_genie_space(space, warehouse_id=GENIE_WAREHOUSE, tables=[table], answers={QUESTION: answer})
    workspace.add_endpoint(LLM, model)
    workspace.add_endpoint("support-agent", lambda _request: "Send a refund form.")
    workspace.add_endpoint("legal-agent", lambda _request: "Clause 7 applies.")
    grants = {
        "alice": {
            "SELECT": ("main.sales.revenue", "main.staff.salaries", FAQ, CONTRACTS),
            "CAN USE": (WAREHOUSE, GENIE_WAREHOUSE),
            "CAN RUN": (SALES, STAFF),
            "CAN QUERY": (LLM, "support-agent", "legal-agent"),
        },
        "bob": {
            "SELECT": ("main.sales.revenue", FAQ),
            "CAN USE": (GENIE_WAREHOUSE,),
            "CAN RUN": (SALES,),
            "CAN QUERY": (LLM, "support-agent"),
        },
    }
    for user, privileges in grants.items():
        for privilege, securables in privileges.items():
            for securable in securables:
                workspace.grant(user, privilege, securable)


def what_it_saw(workspace: LocalWorkspace, user: str, about: Iterable[str]) -> dict[str, set[str]]:
    """What a user's requests were about, by the parts of paths that tell, and what was decided; others by their path."""
    seen: dict[str, set[str]] = {}
    for record in workspace.log.filter(user=user):
        if record.path != PROBE and not record.path.endswith("/invocations"):
            seen.setdefault(next((part for part in about if part in record.path), record.path), set()).add(
                record.decision
            )
    return seen
