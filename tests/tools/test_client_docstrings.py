"""What a model reads of a tool: the docstring, without the client's entry (rule 13)."""

from __future__ import annotations

import pytest
from databricks.sdk import WorkspaceClient
from hypothesis import given
from hypothesis import strategies as st

from obo_kit import with_user_client
from obo_kit.tools._docstring import Docstring

SENTINEL = "the-user-s-handle"
DOCSTRINGS = {
    "google": f"""Find things.

    Args:
        client: {SENTINEL}, which goes
            on, and on.
        question: What to find.

    Returns:
        The things.
    """,
    "google, typed": f"""Find things.

    Args:
        question (str): What to find.
        client (WorkspaceClient): {SENTINEL}.
    """,
    "google, optional, last": f"""Find things.

    Args:
        question: What to find.

            At length.
        client (WorkspaceClient, optional): {SENTINEL}.

            At length: {SENTINEL}.

    Raises:
        ValueError: Never.
    """,
    "google, only": f"""Find things.

    Args:
        client: {SENTINEL}.

    Returns:
        The things.
    """,
    "google, Arguments": f"""Find things.

    Arguments:
      client: {SENTINEL}
      question: What to find.
    """,
    "numpy": f"""Find things.

    Parameters
    ----------
    client : WorkspaceClient
        {SENTINEL}, which goes on.

        And on: {SENTINEL}.
    question : str
        What to find.

    Returns
    -------
    list
        The things.
    """,
    "numpy, untyped, last": f"""Find things.

    Parameters
    ----------
    question
        What to find.
    client
        {SENTINEL}
    """,
    "numpy, only": f"""Find things.

    Parameters
    ----------
    client : WorkspaceClient
        {SENTINEL}

    Returns
    -------
    list
        The things.
    """,
    "sphinx": f"""Find things.

    :param client: {SENTINEL}, which goes
        on, and on: {SENTINEL}.
    :type client: WorkspaceClient
    :param question: What to find.
    :returns: The things.
    """,
    "sphinx, typed": f"""Find things.

    :param WorkspaceClient client: {SENTINEL}
    :param str question: What to find.
    """,
    "one line": "Find things.",
}
UNTOUCHED = {
    "prose": "Find things. The client: a person who buys.",
    "another section": """Find things.

    Notes:
        client: the person who buys.
    """,
    "a longer name": """Find things.

    Args:
        client_id: Who buys.
        question: About the client: what to find.
    """,
    "args in prose": "Find things with args\n\n    client: the person who buys.",
}


@pytest.mark.parametrize("style", DOCSTRINGS)
def test_a_docstring_loses_the_client_s_entry_alone(style):
    """Rule 13: frameworks send the docstring to the model."""

    def tool(client: WorkspaceClient, question: str): ...

    tool.__doc__ = DOCSTRINGS[style]
    doc = with_user_client(tool).__doc__
    assert doc is not None
    assert SENTINEL not in doc
    assert "client" not in doc
    kept = [line.strip() for line in DOCSTRINGS[style].splitlines() if "question" in line or "things" in line]
    assert [line for line in kept if line not in doc] == []
    assert "What to find." not in DOCSTRINGS[style] or "What to find." in doc
    for head in ("Args:", "Arguments:", "Parameters\n"):
        if head in DOCSTRINGS[style]:
            assert (head in doc) == ("only" not in style)


@pytest.mark.parametrize("style", UNTOUCHED)
def test_what_is_no_entry_stays(style):
    """Rule 13."""

    def tool(client: WorkspaceClient, question: str): ...

    tool.__doc__ = UNTOUCHED[style]
    assert with_user_client(tool).__doc__ == UNTOUCHED[style]


_WORDS = st.text(alphabet="abc de:\n-`*()[].", max_size=60)


@given(doc=_WORDS)
def test_any_docstring_without_the_name_is_left_alone(doc):
    """Rule 13."""
    assert Docstring(doc).without("client") == doc


@given(
    entries=st.lists(st.tuples(st.sampled_from(["a", "b2", "client", "c_d"]), _WORDS.map(str.split)), max_size=5),
    indent=st.sampled_from(["", "    ", "\t"]),
    style=st.sampled_from(["google", "numpy", "sphinx"]),
)
def test_the_entries_of_others_survive_in_every_style(entries, indent, style):
    """Rule 13: whatever the descriptions hold."""
    lines = [f"{indent}Do it.", ""]
    if style == "google":
        lines.append(f"{indent}Args:")
    if style == "numpy":
        lines += [f"{indent}Parameters", f"{indent}----------"]
    for name, words in entries:
        told = " ".join(["About", *words])
        lines += {
            "google": [f"{indent}    {name}: {told}", f"{indent}        more of {name}"],
            "numpy": [f"{indent}{name} : str", f"{indent}    {told}", f"{indent}    more of {name}"],
            "sphinx": [f"{indent}:param {name}: {told}", f"{indent}    more of {name}"],
        }[style]
    doc = Docstring("\n".join(lines)).without("client")
    assert "more of client" not in doc
    for name, _ in entries:
        assert name == "client" or f"more of {name}" in doc
    others = [name for name, _ in entries if name != "client"]
    assert ("Args:" in doc or "Parameters" in doc) == (style != "sphinx" and (bool(others) or not entries))
