"""One world for all: the workspace of the tests, with the models that agents ask."""

from __future__ import annotations

import pytest
from frameworks import AGENT, MODEL

CODER = "coder"


@pytest.fixture(scope="session")
def agents_world(furnished_workspace):
    """The endpoints of a model that asks for a tool, and of one that writes code which does."""
    more_frameworks = pytest.importorskip("more_frameworks")
    made = more_frameworks.Agents(furnished_workspace)
    furnished_workspace.add_endpoint(MODEL, made.model)
    furnished_workspace.add_endpoint(CODER, lambda body: "<code>\nfinal_answer(find(question='x'))\n</code>")
    furnished_workspace.add_service_principal(AGENT)
    for endpoint in (MODEL, CODER):
        furnished_workspace.grant(AGENT, "CAN QUERY", endpoint)
    return made
