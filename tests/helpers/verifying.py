"""A workspace to be verified: it has one of everything that the list asks for, and alice may use half of it."""

from __future__ import annotations

import contextlib
import os
import re
import textwrap
from collections.abc import Iterator
from unittest import mock

from obo_kit.analysis.verify._compare import compare
from obo_kit.analysis.verify._login import Login, Token, expired_token, narrow_token, sign_in
from obo_kit.analysis.verify._plan import Named
from obo_kit.analysis.verify._run import Options, Outcome, Run
from obo_kit.cli._verify import kit_words
from obo_kit.testing import LocalWorkspace

NAMED = Named(
    denied={
        "sql_warehouse": "w-hidden",
        "uc_table": "finance.pay.salaries",
        "genie_space": "01hidden",
        "vector_search_index": "finance.pay.index",
        "vector_search_endpoint": "vs-hidden",
        "serving_endpoint": "llm-hidden",
        "databricks_app": "app-hidden",
        "uc_connection": "crm-hidden",
    },
    use={"sql_warehouse": "w-own", "vector_search_index": "main.docs.index", "volume": "main.docs.files"},
)
KIT = kit_words()
"""What the kit says, read once: a test may change what a workspace says."""


@contextlib.contextmanager
def workspace(**options) -> Iterator[LocalWorkspace]:
    """A workspace as the catalogue says, as far as the local one goes, with alice signed in to it."""
    with LocalWorkspace(**options) as running:
        running.missing_scope_words = "reported"
        fill(running)
        environment = {
            "DATABRICKS_HOST": running.host,
            "DATABRICKS_TOKEN": running.token("alice"),
            "DATABRICKS_CONFIG_FILE": os.devnull,
            "OBO_TEST_GENIE": running.token("alice", scopes=["genie"]),
            "OBO_TEST_SQL": running.token("alice", scopes=["sql"]),
            "OBO_TEST_SERVING": running.token("alice", scopes=["model-serving"]),
            "OBO_TEST_EXPIRED": running.token("alice", expires_in=-60),
        }
        clean = {name: value for name, value in os.environ.items() if not name.startswith("DATABRICKS_")}
        with mock.patch.dict(os.environ, {**clean, **environment}, clear=True):
            yield running


def fill(running: LocalWorkspace) -> None:
    running.add_user("alice", groups=["sales-emea"])
    running.add_user("bob")
    for name in ("w-own", "w-hidden"):
        running.add_warehouse(name)
    for name in ("main.docs.pages", "finance.pay.salaries"):
        running.add_table(name, [{"id": 1, "text": "a"}])
    for name, endpoint in (("main.docs.index", "vs-own"), ("finance.pay.index", "vs-hidden")):
        running.add_search_endpoint(endpoint)
        running.add_index(name, [{"id": 1, "text": "a"}], primary_key="id", text_column="text", endpoint=endpoint)
    for name in ("01own", "01hidden"):
        running.add_genie_space(name, warehouse_id="w-own", tables=[], answers={"*": "SELECT 1"})
    for name in ("llm-own", "llm-hidden"):
        running.add_endpoint(name, model=lambda _body: "Hello")
    for name in ("crm-own", "crm-hidden"):
        running.add_connection(name, "http://127.0.0.1:9")
    running.add_app("app-own", user_api_scopes=["sql"])
    running.add_app("app-hidden", user_api_scopes=["sql"])
    running.add_function("main.docs.twice", "x * 2", parameters={"x": "INT"}, returns="INT")
    running.add_volume("main.docs.files", {"a.txt": "a"})
    for privilege, name in (
        ("READ VOLUME", "main.docs.files"),
        ("CAN USE", "w-own"),
        ("SELECT", "main.docs.pages"),
        ("SELECT", "main.docs.index"),
        ("CAN USE", "vs-own"),
        ("CAN RUN", "01own"),
        ("CAN QUERY", "llm-own"),
        ("CAN USE", "app-own"),
        ("USE CONNECTION", "crm-own"),
        ("EXECUTE", "main.docs.twice"),
    ):
        running.grant("alice", privilege, name)


NARROW = ("genie=env:OBO_TEST_GENIE", "sql=env:OBO_TEST_SQL", "model-serving=env:OBO_TEST_SERVING")


def tokens() -> tuple[Login, list[Token], Token]:
    login = sign_in()
    return login, [narrow_token(text, login) for text in NARROW], expired_token("env:OBO_TEST_EXPIRED", login)


def asked(**changes) -> Outcome:
    """What the signed-in workspace answers to the whole list."""
    login, narrow, expired = tokens()
    changes = {"options": Options(rate=5000, patience=1.5), "named": NAMED, **changes}
    return Run(login=login, narrow=narrow, expired=expired, **changes).run()


def results(outcome: Outcome) -> dict[str, tuple]:
    """What became of each claim: its status, and how it differs."""
    return {
        result.claim: (result.status, frozenset((each.aspect, _alike(each.workspace)) for each in result.differences))
        for result in compare(outcome.recording, KIT, outcome.failed)
    }


def _alike(words: str) -> str:
    return re.sub(r"<(?:id|number|mail)>", "<name>", words)


def changed(after: dict[str, tuple], before: dict[str, tuple]) -> dict[str, set[str]]:
    """The claims of which something else became than before, with the aspects that came or went."""
    return {
        claim: {aspect for aspect, _ in after[claim][1] ^ before[claim][1]}
        for claim in after
        if after[claim] != before[claim]
    }


# --- an agent that declares one of everything, with what alice may use, or what is hidden from her

AGENT = '''
from databricks.sdk import WorkspaceClient
from mlflow.models.resources import (
    DatabricksApp, DatabricksFunction, DatabricksGenieSpace, DatabricksServingEndpoint, DatabricksSQLWarehouse,
    DatabricksTable, DatabricksUCConnection, DatabricksVectorSearchIndex,
)
from mlflow.models import set_model
from mlflow.pyfunc import ResponsesAgent
from obo_kit import requires_scopes, system_resources, with_user_client

system_resources(DatabricksServingEndpoint({llm!r}))


@requires_scopes(DatabricksGenieSpace({space!r}), DatabricksSQLWarehouse({warehouse!r}))
@with_user_client
def ask_sales(client: WorkspaceClient, question: str) -> str:
    """Ask."""
    return ""


@requires_scopes(DatabricksVectorSearchIndex({index!r}), DatabricksServingEndpoint({endpoint!r}))
@with_user_client
def search(client: WorkspaceClient, question: str) -> str:
    """Search."""
    return ""


@requires_scopes(DatabricksUCConnection({connection!r}))
@with_user_client
def crm(client: WorkspaceClient, question: str) -> str:
    """Ask the CRM."""
    return ""


class Agent(ResponsesAgent):
    def predict(self, request):
        return ask_sales("x") + search("x") + crm("x")


set_model(Agent())
'''
OWN = {
    "llm": "llm-own",
    "space": "01own",
    "warehouse": "w-own",
    "index": "main.docs.index",
    "endpoint": "llm-own",
    "connection": "crm-own",
}
HIDDEN = {
    "llm": "llm-hidden",
    "space": "01hidden",
    "warehouse": "w-hidden",
    "index": "finance.pay.index",
    "endpoint": "llm-gone",
    "connection": "crm-hidden",
}


def write_agent(tmp_path, names):
    path = tmp_path / "agent.py"
    path.write_text(textwrap.dedent(AGENT).format(**names))
    return str(path)
