"""What is public, and what importing it costs: section 2 and rule 24 of the design."""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import pickle
import pkgutil
import pydoc
import re
import subprocess
import sys
from pathlib import Path

import pytest

import obo_kit
from obo_kit import Denial, DenialReason, exceptions

HEAVY = ("mlflow", "databricks", "requests", "httpx", "openai", "pydantic", "langchain_core", "databricks_ai_bridge")
API = {
    "user_session", "with_user_client", "requires_scopes", "optional_tool", "available_tools", "available_tools_async",
    "system_resources", "auth_policy", "app_config", "log_model", "current_session", "propagate", "explain", "Denial",
    "DenialReason", "UserIdentity", "UserSession", "OboError", "NoUserIdentityError", "NoUserSessionError",
    "SessionClosedError", "IdentityMismatchError", "MissingScopeError", "AccessDeniedError", "TokenExpiredError",
    "UnknownScopeError", "ScopeViolationError", "PolicyError", "register_identity_source", "ToolEvent", "on_event",
    "capture_events", "Preflight", "preflight", "rewrite_denials", "INJECTED",
    "AuditReport", "audit", "AvailableTools", "raise_for_denial", "user_tool",
}  # fmt: skip
# Named by the signatures of the above.
BESIDES = {"IdentitySource", "Limits", "__version__"}


def test_what_is_public_is_what_the_design_says():
    assert set(obo_kit.__all__) == API | BESIDES
    assert len(obo_kit.__all__) == len(set(obo_kit.__all__))


def test_nothing_public_changes_by_accident():
    """Fix: python tests/helpers/api.py, and a line in CHANGELOG.md."""
    api = pytest.importorskip("api")
    assert api.page() == api.PAGE.read_text("utf-8")


@pytest.mark.filterwarnings("ignore")  # MLflow's about its own type hints, when it is first loaded
def test_log_model_knows_every_argument_of_mlflow_s():
    """So that editors and type checkers do."""
    import mlflow

    from obo_kit.policy._policy import LogModelArguments

    assert set(inspect.signature(mlflow.pyfunc.log_model).parameters) <= set(LogModelArguments.__annotations__)


def test_defaults_are_readable_in_help():
    """House rule 3."""
    for package in map(importlib.import_module, ("obo_kit", "obo_kit.testing", "obo_kit.scopes", "obo_kit.analysis")):
        for name in package.__all__:
            if inspect.isroutine(thing := getattr(package, name)) or inspect.isclass(thing):
                assert not re.search(r" at 0x|<function|<factory>", pydoc.plain(pydoc.render_doc(thing))), name
    assert "fallback: 'Any' = <the denial's user_message>" in str(inspect.signature(obo_kit.optional_tool))
    assert "on: 'AbstractSet[DenialReason]' = <all reasons but POLICY>" in str(inspect.signature(obo_kit.optional_tool))


def test_what_is_public_can_be_imported_and_is_offered():
    for name in obo_kit.__all__:
        assert getattr(obo_kit, name) is not None
    assert set(obo_kit.__all__) <= set(dir(obo_kit))
    with pytest.raises(AttributeError, match="nothing"):
        _ = obo_kit.nothing


def test_type_checkers_are_told_the_same():
    """The names for type checkers are those that are imported lazily."""
    source = inspect.getsource(obo_kit).split("if TYPE_CHECKING:")[1].split("_HOMES:")[0]
    told = {
        name.strip(" ,\n)")
        for line in source.replace("(", ",").split("import")
        for name in line.split("from")[0].split(",")
    }
    assert set(obo_kit._HOME_OF) == {name for name in told if name and "obo_kit" not in name}
    assert set(obo_kit._HOME_OF) | set(exceptions.__all__) | {"__version__"} == set(obo_kit.__all__)


@pytest.mark.parametrize("module", sorted(obo_kit._HOMES))
def test_a_module_s_all_is_importable_and_holds_what_the_package_offers(module):
    """Nothing else is public unless its module says so."""
    found = importlib.import_module(f"obo_kit.{module}")
    assert all(hasattr(found, name) for name in found.__all__)
    assert set(obo_kit._HOMES[module]) <= set(found.__all__)


def test_no_public_name_is_a_module_s():
    """Importing a module sets its name on the package, in place of what is offered there."""
    modules = {module.name for module in pkgutil.iter_modules(obo_kit.__path__)}
    assert modules.isdisjoint(obo_kit.__all__)


USES = {
    "import": "",
    "every name": "[getattr(obo_kit, name) for name in obo_kit.__all__]",
    "a tool": """
@obo_kit.optional_tool(fallback='no')
@obo_kit.requires_scopes('genie')
@obo_kit.with_user_client
def tool(client: 'WorkspaceClient', question: str) -> str:
    'Ask.'
""",
    "an entry point": """
@obo_kit.user_session
def predict(): ...
with obo_kit.user_session(host='https://example.com', token='t') as session:
    predict()
""",
    "a token": "obo_kit.UserIdentity.from_token(host='https://example.com', token='t')",
    "explain": "assert obo_kit.explain(ValueError()) is None",
    "explain a denial": "assert obo_kit.explain(obo_kit.TokenExpiredError('x', remedy='y'))",
}


@pytest.mark.parametrize("use", USES)
def test_neither_mlflow_nor_a_client_is_loaded_before_it_is_needed(use):
    """Rule 24."""
    code = f"import sys, obo_kit\n{USES[use]}\nprint(sorted(set(sys.modules) & {set(HEAVY)!r}))"
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.stderr, done.stdout.strip()) == ("", "[]")


def callables():
    for name in sorted(API):
        thing = getattr(obo_kit, name)
        yield name, thing
        if inspect.isclass(thing):
            for attribute, value in vars(thing).items():
                if not attribute.startswith("_") and (inspect.isroutine(value) or isinstance(value, property)):
                    yield f"{name}.{attribute}", value


@pytest.mark.parametrize(("name", "thing"), list(callables()), ids=lambda it: it if isinstance(it, str) else "")
def test_everything_public_says_what_it_does(name, thing):
    """House rule 3."""
    doc = inspect.getdoc(thing)
    assert doc
    assert doc.split("\n")[0].rstrip().endswith((".", ":", ",")) or "\n" in doc
    assert doc[0].isupper() or doc[0] == "`"


RAISES = {
    "user_session": ["NoUserIdentityError", "IdentityMismatchError", "TypeError"],
    "with_user_client": ["TypeError", "NoUserIdentityError", "NoUserSessionError"],
    "requires_scopes": ["UnknownScopeError", "PolicyError", "MissingScopeError"],
    "optional_tool": ["TypeError", "ValueError"],
    "on_event": ["TypeError"],
    "preflight": ["PolicyError"],
    "rewrite_denials": ["TypeError"],
    "available_tools": ["NoUserIdentityError", "NoUserSessionError", "TimeoutError"],
    "available_tools_async": ["NoUserIdentityError", "NoUserSessionError", "TimeoutError"],
    "system_resources": ["PolicyError"],
    "auth_policy": ["PolicyError"],
    "app_config": ["PolicyError"],
    "log_model": ["PolicyError"],
    "current_session": ["NoUserSessionError"],
    "propagate": ["NoUserSessionError", "SessionClosedError"],
    "register_identity_source": ["TypeError"],
    "raise_for_denial": ["AccessDeniedError"],
    "user_tool": ["TypeError", "UnknownScopeError", "PolicyError"],
}


@pytest.mark.parametrize("name", RAISES)
def test_everything_public_says_what_it_raises(name):
    """House rule 3."""
    doc = inspect.getdoc(getattr(obo_kit, name)) or ""
    section = doc.partition("Raises:")[2]
    assert [error for error in RAISES[name] if f"{error}:" not in section] == []
    assert set(RAISES) == {name for name in API if inspect.isfunction(getattr(obo_kit, name))} - {
        "audit",
        "explain",
        "capture_events",
    }


@pytest.mark.parametrize("name", sorted(RAISES))
def test_after_the_first_arguments_are_by_keyword(name):
    """House rule 4."""
    parameters = list(inspect.signature(getattr(obo_kit, name)).parameters.values())
    assert all(one.kind is not one.POSITIONAL_OR_KEYWORD for one in parameters[1:])


# --- the errors -----------------------------------------------------------------------------------------------------------

DENIAL = Denial(reason=DenialReason.ACCESS_DENIED, user_message="u", detail="d", remedy="m")
EXTRAS = {
    "AccessDeniedError": {"denial": DENIAL},
    "MissingScopeError": {"scopes": ("b", "a")},
    "ScopeViolationError": {"scopes": ("b", "a")},
    "UnknownScopeError": {"scope": "x", "nearest": None},
}
ERRORS = [getattr(exceptions, name) for name in exceptions.__all__ if name.endswith("Error")]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "twin",
    [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy],
    ids=["pickle", "copy", "deepcopy"],
)
def test_errors_survive_a_round_trip(kind, twin):
    """They cross the border of a process whole."""
    error = kind("what", remedy="how", **EXTRAS.get(kind.__name__, {}))
    again = twin(error)
    assert type(again) is kind
    assert (again.args, vars(again), str(again)) == (error.args, vars(error), str(error))


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_errors_end_in_the_way_to_mend_them(kind):
    """House rule 5."""
    error = kind("what", remedy="how", **EXTRAS.get(kind.__name__, {}))
    assert kind.__name__.endswith("Error")
    assert isinstance(error, obo_kit.OboError)
    assert str(error) == "what\nFix: how"


def test_a_denial_is_frozen_by_keyword_and_survives_a_pickle():
    with pytest.raises(AttributeError):
        DENIAL.tool = "x"  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(DENIAL)) == DENIAL
    assert all(one.kind is one.KEYWORD_ONLY for one in inspect.signature(Denial).parameters.values())
    fields = "reason, tool, resource, scopes, principal, status, error_code, user_message, detail, remedy"
    assert ", ".join(inspect.signature(Denial).parameters) == fields


def test_the_reasons_are_those_of_the_design():
    """Rule 15."""
    assert {reason.name for reason in DenialReason} == {
        "NO_IDENTITY", "TOKEN_EXPIRED", "MISSING_SCOPE", "ACCESS_DENIED", "NOT_FOUND_OR_DENIED", "LOGIN_REQUIRED",
        "SCOPE_VIOLATION", "POLICY",
    }  # fmt: skip
    assert all(reason.value == reason.name.lower() for reason in DenialReason)


def test_arrows_go_one_way():
    """No module needs one that needs it, and the core loads no leaf when it is imported."""
    package = Path(obo_kit.__file__).parent
    files = {
        ".".join((package.name, *path.relative_to(package).with_suffix("").parts)): path
        for path in package.rglob("*.py")
    }
    files = {name.removesuffix(".__init__"): path for name, path in files.items()}
    needs = {
        name: _imported(ast.parse(path.read_text("utf-8")).body) & set(files) - {name} for name, path in files.items()
    }
    leaves = (
        "obo_kit.integrations",
        "obo_kit.analysis",
        "obo_kit.testing",
        "obo_kit.cli.",
        "obo_kit.__main__",
        "obo_kit.policy._agent_process",
    )
    assert not {
        (name, one)
        for name, wanted in needs.items()
        for one in wanted
        if f"{one}.".startswith(leaves) and not f"{name}.".startswith(leaves)
    }
    done: set[str] = set()
    while free := {name for name, wanted in needs.items() if name not in done and wanted <= done}:
        done |= free
    assert set(needs) - done == set()


def _imported(statements):
    """What a module imports when it is loaded, and not only for a type checker."""
    found = set()
    for one in statements:
        if isinstance(one, ast.ImportFrom) and one.module:
            found |= {one.module, *(f"{one.module}.{name.name}" for name in one.names)}
        elif isinstance(one, ast.Import):
            found |= {name.name for name in one.names}
        elif isinstance(one, (ast.Try, ast.With, ast.ClassDef)) or (
            isinstance(one, ast.If) and "TYPE_CHECKING" not in ast.dump(one.test)
        ):
            found |= _imported(one.body)
    return found
