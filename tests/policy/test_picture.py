"""A policy to look at: what runs as the user and what as the system, and how far the scopes reach."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from mlflow.models.resources import (
    DatabricksGenieSpace,
    DatabricksServingEndpoint,
    DatabricksSQLWarehouse,
    DatabricksUCConnection,
    DatabricksVectorSearchIndex,
)

from obo_kit import PolicyError, app_config, auth_policy, requires_scopes
from obo_kit.policy._report import as_json, as_mermaid, as_table, as_text, picture_of
from obo_kit.scopes._overrides import overridden

DOCS = Path(__file__).parents[2] / "docs" / "policy.md"
AGENT = Path(__file__).parents[2] / "examples" / "support_agent"
LLM = DatabricksServingEndpoint("llm")


def declaring(name: str, *what: Any) -> Any:
    def tool(): ...

    tool.__name__ = tool.__qualname__ = name
    return requires_scopes(*what)(tool)


def needs(picture, tool: str) -> list[tuple[str | None, tuple[str, ...]]]:
    (found,) = (one for one in picture.tools if one.name == tool)
    return [(need.resource, need.scopes) for need in found.needs]


TOOLS = [
    declaring("search", DatabricksVectorSearchIndex("a.b.i")),
    declaring("ask", DatabricksGenieSpace("01f0"), "sql.statement-execution"),
    declaring("select", DatabricksSQLWarehouse("wh1"), "iam.current-user:read"),
    declaring("call", DatabricksUCConnection("jira")),
    LLM,
]


def test_a_tool_that_a_function_makes_is_named_as_people_read_it():
    made = picture_of([declaring("load_tools.<locals>.search", "genie")], target="apps")
    assert [tool.name for tool in made.tools] == ["load_tools.search"]


# --- what is in it --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["model-serving", "apps"])
def test_its_scopes_and_resources_are_those_of_the_policy(target):
    """Rule 22."""
    picture = picture_of(TOOLS, target=target)
    assert list(picture.scopes) == auth_policy(TOOLS, target=target).user_auth_policy.to_dict()["api_scopes"]
    assert {scope for tool in picture.tools for need in tool.needs for scope in need.scopes} == set(picture.scopes)
    assert [one.resource for one in picture.system] == ["Serving endpoint llm"]
    if target == "apps":
        (entry,) = app_config(TOOLS)["resources"]
        assert picture.system[0].permission == entry["serving_endpoint"]["permission"]


def test_each_need_is_shown_with_the_scopes_it_is_reached_with():
    """Rule 21: what another tool's wider scope stands for, and what a target grants unasked."""
    picture = picture_of(TOOLS, target="apps")
    assert needs(picture, "ask") == [(None, ("sql",)), ("Genie space 01f0", ("genie",))]
    assert needs(picture, "select") == [(None, ()), ("SQL warehouse wh1", ("sql",))]
    assert needs(picture, "call") == [("UC connection jira", ("catalog.connections", "model-serving"))]
    assert "iam.current-user:read" in picture_of(TOOLS, target="model-serving").scopes


def test_a_spelling_that_another_tool_wrote_takes_the_place_of_an_inferred_one():
    """Rule 21."""
    written = declaring("written", "dashboards.genie")
    picture = picture_of([written, declaring("inferred", DatabricksGenieSpace("01f0"))], target="model-serving")
    assert picture.scopes == ("dashboards.genie",)
    assert needs(picture, "inferred") == [("Genie space 01f0", ("dashboards.genie",))]


def test_every_order_gives_the_same_picture():
    for draw in (as_table, as_text, as_mermaid, lambda one: json.dumps(as_json(one))):
        assert draw(picture_of(TOOLS, target="apps")) == draw(picture_of(TOOLS[::-1], target="apps"))


def test_how_far_a_scope_reaches_is_said_for_each_scope_of_the_agent():
    picture = picture_of(TOOLS, target="model-serving")
    assert set(picture.reach) == set(picture.scopes) - {"iam.current-user:read"}
    for text in (as_table(picture), as_text(picture)):
        assert "A scope names an API, not a resource." in text
        assert re.search(r"^  sql +Every warehouse that the user may use", text, re.MULTILINE)
        flat = " ".join(text.split())
        assert "acts with its own scopes, which may be more than this agent's" in flat


@pytest.mark.parametrize("target", ["model-serving", "apps"])
def test_what_a_target_cannot_grant_is_refused_with_the_tool_s_name(target):
    """Rule 21."""
    with pytest.raises(PolicyError, match=r"The tool 'offender' cannot be deployed: .* cannot grant the scope 'jobs'"):
        picture_of([declaring("offender", "jobs")], target=target)


# --- how it looks ---------------------------------------------------------------------------------------------------------


def test_a_table_has_a_row_for_each_need_and_says_who_it_runs_as():
    rows = [re.split(r"  +", line.strip()) for line in as_table(picture_of(TOOLS, target="apps")).splitlines()]
    assert ["TOOL", "RUNS AS", "SCOPE", "RESOURCE", "THE USER NEEDS"] in rows
    assert ["select", "the user", "sql", "SQL warehouse wh1", "CAN USE on the warehouse"] in rows
    assert ["select", "the user", "(unasked)", "-", "-"] in rows
    assert ["(the agent)", "the system", "-", "Serving endpoint llm (CAN_QUERY)", "-"] in rows


def test_text_is_plain_ascii_whatever_a_resource_is_called():
    nasty = DatabricksGenieSpace("\x1b[2J\r\n01f0")
    for draw in (as_table, as_text, as_mermaid):
        text = draw(picture_of([declaring("nasty", nasty), LLM], target="model-serving"))
        assert all(char.isprintable() and ord(char) < 128 for char in text.replace("\n", ""))
        assert "Genie space ?[2J??01f0" in text
    text = as_text(picture_of(TOOLS, target="model-serving"))
    assert re.search(r"^ \+-- select +--> sql +--> SQL warehouse wh1$", text, re.MULTILINE)
    assert " +-- (the agent) --> Serving endpoint llm" in text


@pytest.mark.parametrize("draw", [as_table, as_text])
def test_an_agent_that_declares_nothing_is_said_to(draw):
    assert "Nothing is declared." in draw(picture_of([], target="model-serving"))


NODE = r"(\w+)(\[\"[^\"]*\"\]|\(\[\"[^\"]*\"\]\)|\[\(\"[^\"]*\"\)\]|\{\{\"[^\"]*\"\}\})"


def parts(chart: str):
    """Nodes and edges of a flow chart; every line is one of them."""
    first, *lines = chart.splitlines()
    assert first == "flowchart LR"
    nodes, edges = {}, []
    for line in lines:
        node, edge = re.fullmatch(f" +{NODE}", line), re.fullmatch(r" +(\w+) (-->|-\.-) (\w+)", line)
        assert node or edge, line
        if node:
            assert node[1] not in nodes
            nodes[node[1]] = node[2].strip('[](){}"')
        else:
            edges.append((edge[1], edge[3]))
    assert {name for edge in edges for name in edge} == set(nodes)
    return nodes, edges


def test_a_chart_leads_from_tools_over_scopes_and_resources_to_identities():
    nodes, edges = parts(as_mermaid(picture_of(TOOLS, target="apps")))
    ways = {(nodes[one], nodes[other]) for one, other in edges}
    assert len(edges) == len(ways)
    assert {("select", "sql"), ("sql", "SQL warehouse wh1"), ("SQL warehouse wh1", "the user")} <= ways
    assert {("ask", "sql"), ("sql", "the user"), ("select", "unasked"), ("unasked", "the user")} <= ways
    assert {("the agent", "Serving endpoint llm (CAN_QUERY"), ("Serving endpoint llm (CAN_QUERY", "the system")} <= ways
    assert any(one == "genie" and other.startswith("Every Genie space") for one, other in ways)


def test_a_name_cannot_break_out_of_a_chart():
    name = '"]; click a href "javascript:x" `<b>&amp; #1'
    nodes, _ = parts(as_mermaid(picture_of([declaring("quoted", DatabricksGenieSpace(name))], target="model-serving")))
    (label,) = (label for label in nodes.values() if label.startswith("Genie space"))
    assert not set(label.replace("<br/>", "")) & set('"`<>&')


# --- the page -------------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_the_chart_of_the_page_is_that_of_the_example(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(AGENT), *sys.path])
    (shown,) = re.findall(r"^```mermaid\n(.*?)^```$", DOCS.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    drawn = as_mermaid(picture_of(AGENT / "agent.py", target="model-serving"))
    assert shown.rstrip() == drawn, f"Put this into docs/policy.md:\n{drawn}"
    parts(drawn)


def test_the_catalogue_file_of_the_page_is_one(tmp_path):
    from obo_kit.scopes import catalogue

    ((name, text),) = re.findall(r"^```yaml (\S+)\n(.*?)^```$", DOCS.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    (tmp_path / name).write_text(text)
    assert set(yaml.safe_load(text)) == {"as_of", "scopes", "families", "kinds", "routes"}
    found = overridden(catalogue(), str(tmp_path / name))
    assert found.kinds["agent_brick"].current["model-serving"] == ("agent-bricks",)


def test_the_terms_of_the_page_are_answered():
    from click.testing import CliRunner

    from obo_kit.cli import main

    terms = re.findall(r"^\$ obo-kit (scopes .+)$", DOCS.read_text("utf-8"), re.MULTILINE)
    assert len(terms) == 3
    for words in terms:
        assert CliRunner().invoke(main, words.split()).exit_code == 0
