"""The release of a workspace: what it says without cost, and nothing that is its own."""

from __future__ import annotations

import json

import pytest
import verifying

from obo_kit.analysis.verify._plan import Named, listed
from obo_kit.analysis.verify._release import RUNTIMES, SQL_VERSION, release_of
from obo_kit.analysis.verify._run import Options
from obo_kit.analysis.verify._transport import Raw


def raw(body, status=200):
    return Raw(status=status, headers={}, body=json.dumps(body).encode() if not isinstance(body, bytes) else body)


def versions(*keys):
    return raw({"versions": [{"key": key, "name": "x"} for key in keys]})


def cell(value):
    return raw({"status": {"state": "SUCCEEDED"}, "result": {"data_array": [[value]]}})


@pytest.mark.parametrize(
    ("answer", "runtime", "why"),
    [
        (versions("9.1.x-scala2.12", "17.3.x-scala2.13", "16.4.x-gpu-ml-scala2.12"), "17.3", None),
        (versions("17.3.x-photon-scala2.13", "custom:acme-99.9.x-scala2.12", "18.x-snapshot-acme"), "17.3", None),
        (versions("custom:acme", "acme-corp.x-scala2.12"), None, "unreadable"),
        (raw({"versions": "acme"}), None, "unreadable"),
        (raw(b"<html>"), None, "unreadable"),
        (raw([]), None, "unreadable"),
        (raw({"error_code": "PERMISSION_DENIED"}, 403), None, "refused"),
        (raw(b"", 503), None, "failed"),
        (None, None, "not_asked"),
    ],
)
def test_the_newest_runtime_tells_the_release(answer, runtime, why):
    release = release_of(answer, None)
    assert (release.runtime, release.sql, release.why) == (runtime, None, why)
    assert "acme" not in release.model_dump_json()
    assert (why or "").replace("_", " ") in str(release)


@pytest.mark.parametrize(
    ("answer", "sql"),
    [
        (cell("2026.30"), "2026.30"),
        (cell(None), None),
        (cell("acme 2026.30"), None),
        (raw({"status": {"state": "PENDING"}}), None),
        (raw({"result": {"data_array": []}}), None),
        (raw({"result": {"data_array": "acme"}}), None),
        (None, None),
    ],
)
def test_a_warehouse_tells_the_version_of_sql(answer, sql):
    assert release_of(versions("17.3.x-scala2.13"), answer).sql == sql


def test_a_warehouse_is_asked_only_if_one_is_named():
    none = Named(denied={"sql_warehouse": "w"}, use={})
    assert RUNTIMES in listed(none)
    assert SQL_VERSION.path not in {probe.path for probe in listed(none) if probe.safe == "statement"}
    with verifying.workspace() as workspace:
        outcome = verifying.asked(named=none, options=Options(rate=5000, budget=12))
        asked = [record.path for record in workspace.log]
    assert outcome.recording.release.runtime == "17.3"
    assert asked.count("/api/2.1/clusters/spark-versions") == 1


def test_a_login_that_may_not_see_the_runtimes_is_told_why():
    with verifying.workspace() as workspace:
        workspace.add_fault(status=403, path_prefix="/api/2.1/clusters/spark-versions", times=None)
        outcome = verifying.asked(options=Options(rate=5000, budget=12))
    assert (outcome.recording.release.runtime, outcome.recording.release.why) == (None, "refused")
    assert "tells no release (refused)" in str(outcome.recording.release)
