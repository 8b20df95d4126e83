"""Whatever a workspace answers, wherever it says a name, an id, a host, an address or a token: no recording holds it."""

from __future__ import annotations

import pytest
from canaries import answers, texts, untold
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from obo_kit.analysis.verify._probe import get
from obo_kit.analysis.verify._shapes import names_in, shape_of
from obo_kit.scopes._recording import CASES, Recording, dump, load

PROBE = get("/api/2.0/serving-endpoints/{absent}")


def _holds(tmp_path, answer, intent, held, is_seen):
    raw, found = answer
    scopes = None if held is None else [text for text, _ in held]
    found += [canary for _, canary in held or ()]
    seen = list(names_in(raw.body)) if is_seen else []
    shape = shape_of(raw, PROBE, claim="refusal:serving_missing", intent=intent, scopes=scopes, seen=seen)
    file = tmp_path / "recording.json"
    dump(Recording(recorded="2026-12-01", kit="0.1.0", answers=(shape,)), file)
    untold(file.read_text(), found)
    assert load(file).answers == (shape,)


asked = given(answers(), st.sampled_from(sorted(CASES)), st.none() | st.lists(texts, max_size=3), st.booleans())


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@asked
def test_no_recording_holds_what_a_workspace_calls_its_own(tmp_path, answer, intent, held, is_seen):
    _holds(tmp_path, answer, intent, held, is_seen)


@pytest.mark.long
@pytest.mark.timeout(600)
@settings(max_examples=2000, suppress_health_check=list(HealthCheck))
@asked
def test_not_one_of_thousands_of_recordings_holds_it(tmp_path, answer, intent, held, is_seen):
    _holds(tmp_path, answer, intent, held, is_seen)
