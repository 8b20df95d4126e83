"""`verify` on workspaces that differ on purpose: it finds each difference, and invents none."""

from __future__ import annotations

import pytest

pytest.importorskip("duckdb", reason="the local workspace needs the extra obo-kit[testing]")

from seeded import DENIED, SEEDED, USE, USER, Seeded, furnished

from obo_kit.analysis.verify._compare import compare
from obo_kit.analysis.verify._login import expired_token, sign_in
from obo_kit.analysis.verify._plan import Named, listed
from obo_kit.analysis.verify._run import Options, Run
from obo_kit.cli._verify import kit_words

OF_THE_SDK = "/.well-known/databricks-config"  # which it asks of every host, without a token
NAMED = Named(denied=DENIED, use=USE)
AS_THE_KIT_SAYS: list[set[str]] = []  # what stays untried there, once it has been asked

pytestmark = pytest.mark.timeout(240)  # each is hundreds of requests


@pytest.fixture
def verified(monkeypatch):
    """Run it against a workspace; returns what it found, by claim, and the run's outcome."""

    def verify(workspace, before=None, **options):
        monkeypatch.setenv("DATABRICKS_HOST", workspace.host)
        monkeypatch.setenv("DATABRICKS_TOKEN", workspace.token(USER))
        monkeypatch.setenv("DATABRICKS_AUTH_TYPE", "pat")
        monkeypatch.setenv("EXPIRED", workspace.token(USER, expires_in=-5))
        login = sign_in()
        outcome = Run(
            login=login,
            narrow=(),
            named=NAMED,
            expired=expired_token("env:EXPIRED", login),
            options=Options(exchange=True, rate=10_000, patience=2.0, **options),
            before=before,
        ).run()
        return {result.claim: result for result in compare(outcome.recording, kit_words(), outcome.failed)}, outcome

    return verify


def differences(results):
    return {
        claim: frozenset(difference.aspect for difference in result.differences)
        for claim, result in results.items()
        if result.status == "differs"
    }


def untried(results):
    return {claim for claim, result in results.items() if result.status == "not_tried"}


def checked(seeded, verified):
    """Verify a workspace, and check what was found and what was sent; return the results."""
    with furnished(seeded.recording) as workspace:
        seeded.spoil(workspace)
        results, outcome = verified(workspace)
        assert differences(results) == seeded.differs
        assert outcome.sent <= 400
        sent = {(entry.method, entry.path) for entry in workspace.log if entry.path != OF_THE_SDK}
        listed_paths = {(probe.method, probe.target.partition("?")[0]) for probe in listed(NAMED)}
        assert sent <= listed_paths | {("POST", "/oidc/v1/token")}
        if not outcome.stopped:
            return results
        # It goes on where it stopped, and asks nothing twice.
        workspace.clear_faults()
        workspace.log.clear()
        results, again = verified(workspace, before=outcome.recording)
        assert differences(results) == seeded.differs
        assert again.sent < outcome.sent
        assert not again.stopped
        return results


def test_all_differences_at_once_are_found_and_no_other(verified):
    together = [seeded for seeded in SEEDED.values() if not seeded.alone]
    answers = [answer for seeded in together for answer in seeded.answers]
    differs = {}
    for seeded in together:
        for claim, aspects in seeded.differs.items():
            differs[claim] = differs.get(claim, frozenset()) | aspects
    checked(Seeded(answers=tuple(answers), obo="off", differs=differs), verified)


@pytest.mark.long
@pytest.mark.parametrize("name", SEEDED)
def test_each_difference_is_found_and_none_is_invented(name, verified):
    results = checked(SEEDED[name], verified)
    # What stays untried is what stays so on a workspace as the kit says, and what the difference hides.
    if not AS_THE_KIT_SAYS:
        AS_THE_KIT_SAYS.append(untried(checked(Seeded(), verified)))
    hidden = untried(results) - AS_THE_KIT_SAYS[0]
    assert [results[claim].why for claim in hidden if "does not get that far" not in results[claim].why] == []
