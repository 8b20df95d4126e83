"""Logs the support agent, serves it as Model Serving would, and asks it the same question as three users.

Run it with `make demo`. Everything happens on this machine, against the local workspace.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
os.environ["MLFLOW_ENABLE_ASYNC_TRACE_LOGGING"] = "false"

import mlflow  # noqa: E402
from mlflow.models import Model  # noqa: E402

import obo_kit  # noqa: E402
from obo_kit.testing import LocalWorkspace  # noqa: E402

USERS = ("alice", "bob", "carol")
QUESTION = "What should I know about refunds?"
TOOLS = ("search_faq", "ask_sales", "list_tickets", "triage")


def model(request: dict) -> str | dict:
    """Stands in for an LLM: asks for every tool once, then answers with what they said."""
    results = [message["content"] for message in request["messages"] if message["role"] == "tool"]
    if results or not request.get("tools"):
        return " | ".join(results) or "There is nothing to ask."
    calls = []
    for number, tool in enumerate(request["tools"]):
        (parameter,) = tool["function"]["parameters"]["properties"]
        value = "refund" if parameter == "topic" else QUESTION
        function = {"name": tool["function"]["name"], "arguments": json.dumps({parameter: value})}
        calls.append({"id": f"call_{number}", "type": "function", "function": function})
    return {"role": "assistant", "content": "", "tool_calls": calls}


def furnish(workspace: LocalWorkspace) -> None:
    """What the agent needs, and who may use it: alice everything, bob some, carol nothing."""
    from tools import GENIE_SPACE, TRIAGE_ENDPOINT, WAREHOUSE

    for user in USERS:
        workspace.add_user(user)
    workspace.add_index(
        "main.support.faq",
        [
            {"id": 1, "text": "Refunds are paid within 14 days."},
            {"id": 2, "text": "A password is reset from the sign-in page."},
        ],
        primary_key="id",
        text_column="text",
    )
    workspace.add_table("main.support.tickets", [{"id": 7, "subject": "Refund is late"}, {"id": 8, "subject": "Login"}])
    workspace.add_table("main.sales.refunds", [{"month": "October", "total": 1250}])
    workspace.add_warehouse(WAREHOUSE)
    workspace.add_genie_space(
        GENIE_SPACE,
        warehouse_id=WAREHOUSE,
        tables=["main.sales.refunds"],
        answers={QUESTION: "SELECT month, total FROM main.sales.refunds"},
    )
    workspace.add_endpoint("support-llm", model)
    workspace.add_endpoint(TRIAGE_ENDPOINT, lambda request: "urgent" if "refund" in str(request).lower() else "normal")
    workspace.grant("alice", "SELECT", "main.support.faq")
    workspace.grant("alice", "SELECT", "main.support.tickets")
    workspace.grant("alice", "SELECT", "main.sales.refunds")
    for user in ("alice", "bob"):
        workspace.grant(user, "CAN USE", WAREHOUSE)
        workspace.grant(user, "CAN RUN", GENIE_SPACE)
        workspace.grant(user, "CAN QUERY", TRIAGE_ENDPOINT)


def log_agent(folder: Path) -> str:
    """Log the agent with MLflow. The policy is collected from what the tools declare."""
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.set_experiment(
        experiment_id=mlflow.create_experiment("demo", artifact_location=(folder / "models").as_uri())
    )
    with mlflow.start_run():
        info = obo_kit.log_model(
            name="support-agent",
            python_model=str(HERE / "agent.py"),
            code_paths=[str(HERE / "tools.py")],
            pip_requirements=["obo-kit", "mlflow"],
        )
    return info.model_uri


def ask_as_everyone(workspace: LocalWorkspace, model_uri: str) -> None:
    """Ask as all users at the same time, streaming and not."""
    with workspace.deploy(model_uri, endpoint="support-agent") as agent, ThreadPoolExecutor(2 * len(USERS)) as pool:
        for user in USERS:
            workspace.grant(user, "CAN QUERY", "support-agent")
        workspace.log.clear()
        payload = {"input": [{"role": "user", "content": QUESTION}]}
        together = Barrier(2 * len(USERS))

        def whole(user: str) -> dict:
            token = workspace.token(user, scopes=["model-serving"])
            together.wait()
            return agent.invoke(token, payload)

        def streamed(user: str) -> list[dict]:
            token = workspace.token(user, scopes=["model-serving"])
            together.wait()
            return list(agent.stream(token, payload))

        answers = {user: (pool.submit(whole, user), pool.submit(streamed, user)) for user in USERS}
        for user, (answer, events) in answers.items():
            show(workspace, user, answer.result(), events.result())


def show(workspace: LocalWorkspace, user: str, answer: dict, events: list[dict]) -> None:
    """Who got what, and who the workspace says was asking."""
    denials = answer["custom_outputs"]["denials"]
    outputs = [item["output"] for item in answer["output"] if item["type"] == "function_call_output"]
    print(f"\n{user}")
    for tool, output in zip(TOOLS, outputs, strict=True):
        print(f"  {tool:<13} {'denied: ' + denials[tool] if tool in denials else 'data':<28} {output}")
    text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta").strip()
    print(
        f"  streamed      {len(events)} events, {'the same answer' if text == ' | '.join(outputs) else 'ANOTHER ANSWER'}"
    )
    calls = [
        entry for entry in workspace.log if entry.user == user and not entry.path.endswith("support-agent/invocations")
    ]
    allowed = sum(entry.decision == "allowed" for entry in calls)
    print(f"  the workspace saw {len(calls)} calls by {user}: {allowed} allowed, {len(calls) - allowed} refused")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the demo's own lines readable. MLflow's dry run while logging has no user, and the kit says so at ERROR."""
    loggers = [
        logging.getLogger(name) for name in ("mlflow", "obo_kit", "databricks", "databricks_ai_bridge", "alembic")
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def main() -> None:
    started = time.perf_counter()
    # A laptop's own Databricks configuration has no part in this.
    for name in [name for name in os.environ if name.startswith("DATABRICKS_")]:
        del os.environ[name]
    os.environ["DATABRICKS_CONFIG_FILE"] = os.devnull
    with tempfile.TemporaryDirectory(prefix="obo-kit-demo-") as folder, LocalWorkspace() as workspace, quiet():
        print(f"1. A local workspace on {workspace.host}: alice may use everything, bob some, carol nothing.")
        furnish(workspace)
        print("2. Logging examples/support_agent/agent.py with MLflow; nobody wrote the policy down.")
        model_uri = log_agent(Path(folder))
        print("   Read back from its MLmodel:")
        policy = json.dumps(Model.load(model_uri).auth_policy, indent=2)
        print("\n".join(f"   {line}" for line in policy.splitlines()))
        print(f"3. Served as Model Serving would, three users at the same time, streaming and not:\n   {QUESTION!r}")
        ask_as_everyone(workspace, model_uri)
    print(f"\nDone in {time.perf_counter() - started:.0f} s; nothing is left running.")
    print(LocalWorkspace.NOTICE)
    print(
        "Embedded: workspace, LLM and Model Serving. A real deployment changes where the token comes from, and no line "
        "of the agent."
    )


if __name__ == "__main__":
    main()
