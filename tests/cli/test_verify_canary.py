"""Whatever a workspace answers: nothing that verify writes, prints or logs holds what is the workspace's own."""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import logging
import os
import re
import threading
from unittest import mock

import pytest
from canaries import answers, untold
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings

from obo_kit.cli import main
from obo_kit.scopes._recording import dump, load

pytest.importorskip("ruamel.yaml", reason="a file is updated by the extra obo-kit[bundle]")

TOKEN = "dapiqxzjkvwqxzjkvw"
ME = {"userName": "kvwxzq.jqxzvw@example.com", "id": "zqzqzqzqzq", "emails": [{"value": "wwqqxxzz@example.com"}]}


@contextlib.contextmanager
def workspace(raw):
    """Serve the one answer to every request, but who asks: that is alice under a name that is nowhere by chance."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.rfile.read(int(self.headers.get("content-length") or 0))
            me = self.path.endswith("/Me")
            body = json.dumps(ME).encode() if me else raw.body
            self.send_response(200 if me else raw.status)
            for name, value in raw.headers.items() if not me else ():
                if name.replace("-", "").isalpha() and name.isascii() and name not in ("retry-after", "location"):
                    self.send_header(name, value.encode("ascii", "replace").decode().replace("\n", " "))
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@contextlib.contextmanager
def _logging_to(stream):
    """Write log lines and warnings as Python does where nobody configured anything: under pytest, somebody did."""
    handler = logging.StreamHandler(stream)
    handler.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        logging.captureWarnings(False)


def _untold(folder, answer):
    raw, found = answer
    runner, said, logged = CliRunner(), [], io.StringIO()
    recording, catalogue = str(folder / "recording.json"), folder / "obo_kit_catalogue.yaml"
    catalogue.unlink(missing_ok=True)

    def run(*arguments):
        with _logging_to(logged):
            result = runner.invoke(main, ["verify", *arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        said.append(result.output)  # both streams

    with workspace(raw) as host:
        environment = {"DATABRICKS_HOST": host, "DATABRICKS_TOKEN": TOKEN, "DATABRICKS_CONFIG_FILE": os.devnull}
        with mock.patch.dict(os.environ, environment):
            run("--rate", "5000", "--budget", "25", "--output", recording, "--review")
    for options in (["--review"], ["--review", "--json"], ["--explain"], ["--explain", "--json"]):
        run("--recording", recording, *options)
    # Of a workspace on this machine nothing was observed: as if it were elsewhere.
    dump(load(recording).model_copy(update={"cloud": "aws"}), recording)
    run("--recording", recording, "--update", str(catalogue))
    written = [path.read_text() for path in folder.iterdir()]
    text = re.sub(r"sha256:[0-9a-f]{64}", "", "\n".join([*said, *written, logged.getvalue()]))
    assert len(text) > 1000
    untold(text.replace(str(folder), ""), [*found, TOKEN, ME["userName"]])
    for own in ("127.0.0.1", host.rpartition(":")[2], "zqzqzq", "wwqqxx"):
        assert own not in text.replace(str(folder), "")


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr("obo_kit.analysis.verify._transport._wait", lambda _raw, _attempt: 0)


# Without shrinking: each example is seven commands.
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)


@settings(max_examples=8, phases=PHASES, suppress_health_check=list(HealthCheck))
@given(answers())
@pytest.mark.usefixtures("at_once")
def test_no_output_holds_what_a_workspace_calls_its_own(tmp_path, answer):
    _untold(tmp_path, answer)


MANY = int(os.environ.get("OBO_KIT_CANARIES", "12"))


@pytest.mark.long
@settings(max_examples=MANY, phases=PHASES, suppress_health_check=list(HealthCheck))
@given(answers())
@pytest.mark.usefixtures("at_once")
def test_not_one_of_many_outputs_holds_it(tmp_path, answer):
    _untold(tmp_path, answer)
