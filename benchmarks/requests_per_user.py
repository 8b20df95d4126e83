"""What one user request costs: the kit against the documented recipes and against one client kept for ever, in one run.

The workspace is a process of its own, over HTTPS with 5 ms of latency and a CA bundle of production size (certifi's and one
more). Latency is added per HTTP request; connecting is not delayed, so a real network makes every extra connection dearer
than here. Recipes and kit take turns, so that a drifting machine hits them alike. `make bench` runs it.
"""

from __future__ import annotations

import argparse
import functools
import logging
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

LATENCY = 0.005
TOOLS = 5


def serve(pipe: Any, certificate: str, key: str, latency: float) -> None:
    """The workspace's process: says where it is, then answers what it has seen until it is told to stop."""
    from obo_kit.testing import LocalWorkspace

    with LocalWorkspace(latency=latency, ssl_certfile=certificate, ssl_keyfile=key) as workspace:
        workspace.add_user("alice")
        pipe.send((workspace.host, workspace.token("alice")))
        while pipe.recv() == "log":
            pipe.send([(entry.path, entry.connection, entry.user) for entry in workspace.log])
            workspace.log.clear()


def certificates(folder: Path) -> tuple[str, str, str]:
    """A certificate for loopback, its key, and a bundle of production size that trusts it."""
    import certifi
    import trustme

    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    certificate, key, bundle = folder / "certificate.pem", folder / "key.pem", folder / "bundle.pem"
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    bundle.write_bytes(Path(certifi.where()).read_bytes() + authority.cert_pem.bytes())
    return str(certificate), str(key), str(bundle)


def variants(host: str, token: str, calls: int) -> dict[str, Callable[[], None]]:
    """The ways to serve one user request of ``calls`` tool calls."""
    from databricks.sdk import WorkspaceClient
    from databricks_ai_bridge import ModelServingUserCredentials

    from obo_kit import requires_scopes, user_session, with_user_client

    @requires_scopes("iam.current-user:read")
    @with_user_client
    def tool(client: WorkspaceClient) -> str | None:
        return client.current_user.me().user_name

    def kit() -> None:
        with user_session(host=host, token=token):
            for _ in range(calls):
                tool()

    def apps_recipe() -> None:
        for _ in range(calls):
            WorkspaceClient(host=host, token=token, auth_type="pat").current_user.me()

    def serving_recipe() -> None:
        for _ in range(calls):
            WorkspaceClient(credentials_strategy=ModelServingUserCredentials()).current_user.me()

    kept = WorkspaceClient(host=host, token=token, auth_type="pat")

    def kept_client() -> None:
        for _ in range(calls):
            kept.current_user.me()

    return {
        "kit": kit,
        "recipe, Apps": apps_recipe,
        "recipe, Model Serving": serving_recipe,
        "one client kept": kept_client,
    }


def measure(pipe: Any, host: str, token: str, calls: int, rounds: int) -> dict[str, tuple[float, float, float]]:
    """Median milliseconds, requests and new connections of one user request, for each variant."""
    ways = variants(host, token, calls)
    seen_connections: set[str] = set()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    requests: dict[str, list[int]] = {name: [] for name in ways}
    connections: dict[str, list[int]] = {name: [] for name in ways}
    for number in range(rounds + 2):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            elapsed = time.perf_counter() - started
            pipe.send("log")
            log = pipe.recv()
            new = {connection for _, connection, _ in log} - seen_connections
            seen_connections |= new
            assert all(user == "alice" for path, _, user in log if "well-known" not in path), log
            if number >= 2:  # the first rounds fill the pools
                seconds[name].append(elapsed)
                requests[name].append(len(log))
                connections[name].append(len(new))
    return {
        name: (
            statistics.median(seconds[name]) * 1e3,
            statistics.mean(requests[name]),
            statistics.mean(connections[name]),
        )
        for name in ways
    }


def overhead() -> tuple[float, float]:
    """Microseconds of a no-op tool: decorated with all three of the kit's, and with `functools.wraps` alone."""
    from databricks.sdk import WorkspaceClient

    from obo_kit import optional_tool, requires_scopes, with_user_client

    def plain(question: str) -> str:
        return question

    @functools.wraps(plain)
    def wrapped(*args: Any, **kwargs: Any) -> str:
        return plain(*args, **kwargs)

    @optional_tool
    @requires_scopes("genie")
    @with_user_client
    def tool(client: WorkspaceClient, question: str) -> str:  # noqa: ARG001
        return question

    def best(call: Callable[[], Any]) -> float:
        return min(timeit.repeat(call, number=20_000, repeat=5)) / 20_000 * 1e6

    return best(lambda: tool("x")), best(lambda: wrapped("x"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="user requests per variant (default: 15)")
    parser.add_argument("--latency", type=float, default=LATENCY, help="seconds per HTTP request (default: 0.005)")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    for name in [name for name in os.environ if name.startswith("DATABRICKS_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="obo-kit-bench-") as folder:
        certificate, key, bundle = certificates(Path(folder))
        os.environ["REQUESTS_CA_BUNDLE"] = bundle
        pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        server = context.Process(target=serve, args=(theirs, certificate, key, options.latency))
        server.start()
        try:
            host, token = pipe.recv()
            # What the Model Serving recipe reads: its environment, and the slot that its class falls back to.
            os.environ["IS_IN_DB_MODEL_SERVING_ENV"] = "true"
            os.environ["DATABRICKS_MODEL_SERVING_HOST_URL"] = host
            import threading

            threading.main_thread().__dict__["invokers_token"] = token
            print(f"HTTPS, {options.latency * 1e3:g} ms per request, medians of {options.rounds} user requests\n")
            print(f"{'one user request of':<22}{'':<24}{'ms':>8}{'requests':>10}{'new conns':>11}{'kit is':>14}")
            for calls in (1, TOOLS):
                found = measure(pipe, host, token, calls, options.rounds)
                base = found["kit"][0]
                for name, (milliseconds, requests, connections) in found.items():
                    ratio = "" if name == "kit" else f"{milliseconds / base:.1f} x faster"
                    label = f"{calls} tool call{'s' if calls > 1 else ''}" if name == "kit" else ""
                    print(f"{label:<22}{name:<24}{milliseconds:>8.1f}{requests:>10.1f}{connections:>11.1f}{ratio:>14}")
            from obo_kit import user_session

            with user_session(host=host, token=token):
                decorated, wrapped = overhead()
            print(
                f"\na decorated no-op tool: {decorated:.2f} us; functools.wraps alone: {wrapped:.2f} us; "
                f"the difference: {decorated - wrapped:.2f} us"
            )
        finally:
            pipe.send("stop")
            server.join(10)
    return 0


if __name__ == "__main__":
    sys.exit(main())
