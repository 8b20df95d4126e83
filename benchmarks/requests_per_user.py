"""What one user request costs: the kit, the documented recipes, and one client kept for ever, in one run.

The server is a process of its own, over HTTPS, with a CA bundle of production size (certifi's and one more); latency is
first in the server, then on the way to it (see `replay`). The ways take turns, so that a drifting machine hits them alike,
and each begins without the garbage of the one before. ``make bench`` runs it; docs/benchmarks.md explains it.
"""

from __future__ import annotations

import argparse
import contextvars
import functools
import gc
import logging
import os
import resource
import statistics
import subprocess
import sys
import threading
import time
import timeit
import tracemalloc
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from replay import Server, running

CALLS = 5
USERS = 16
IN_A_ROW = 3  # user requests of a way, before the next way's turn
INDEX, ENDPOINT = "main.support.articles", "llm"
ASK = [{"role": "user", "content": "hello"}]
KIT, APPS, SERVING, KEPT = "obo_kit", "recipe, Apps", "recipe, Model Serving", "one client kept"

Way = Callable[[str, int], None]
"""Serves one user request: takes the user's token and the number of tool calls."""


def furnish(workspace: Any) -> list[str]:
    """What the ways ask for; returns a token of each user."""
    rows = [{"id": "a1", "text": "How to ask for a refund"}, {"id": "a2", "text": "Shipping times by country"}]
    workspace.add_index(INDEX, rows, primary_key="id", text_column="text")
    workspace.add_endpoint(ENDPOINT, lambda _: "hello")
    users = [f"user{number}" for number in range(USERS)]
    for user in users:
        workspace.add_user(user)
        workspace.grant(user, "SELECT", INDEX)
        workspace.grant(user, "CAN QUERY", ENDPOINT)
    return [workspace.token(user) for user in users]


# --- the ways --------------------------------------------------------------------------------------------------------------


def sdk_ways(host: str) -> dict[str, Way]:
    """A tool that asks the workspace who the user is, through the SDK."""
    from databricks.sdk import WorkspaceClient
    from databricks_ai_bridge import ModelServingUserCredentials

    from obo_kit import requires_scopes, user_session, with_user_client

    @requires_scopes("iam.current-user:read")
    @with_user_client
    def tool(client: WorkspaceClient) -> None:
        client.current_user.me()

    def kit(token: str, calls: int) -> None:
        with user_session(host=host, token=token):
            for _ in range(calls):
                tool()

    def apps(token: str, calls: int) -> None:
        for _ in range(calls):
            WorkspaceClient(host=host, token=token, auth_type="pat").current_user.me()

    def serving(token: str, calls: int) -> None:
        # Where the official class finds the invoker's token: one place for the process, so one user at a time.
        threading.main_thread().__dict__["invokers_token"] = token
        for _ in range(calls):
            WorkspaceClient(credentials_strategy=ModelServingUserCredentials()).current_user.me()

    @functools.cache
    def client_of(token: str) -> WorkspaceClient:
        return WorkspaceClient(host=host, token=token, auth_type="pat")

    def kept(token: str, calls: int) -> None:
        for _ in range(calls):
            client_of(token).current_user.me()

    return {KIT: kit, APPS: apps, SERVING: serving, KEPT: kept}


def openai_ways(host: str) -> dict[str, Way]:
    """A tool that asks a serving endpoint, through `DatabricksOpenAI`."""
    from databricks.sdk import WorkspaceClient
    from databricks_openai import DatabricksOpenAI

    from obo_kit import user_session, with_user_client

    def ask(client: Any) -> None:
        client.chat.completions.create(model=ENDPOINT, messages=ASK)

    @with_user_client
    def tool(client: DatabricksOpenAI) -> None:
        ask(client)

    def built(token: str) -> Any:
        return DatabricksOpenAI(workspace_client=WorkspaceClient(host=host, token=token, auth_type="pat"))

    def kit(token: str, calls: int) -> None:
        with user_session(host=host, token=token):
            for _ in range(calls):
                tool()

    def apps(token: str, calls: int) -> None:
        for _ in range(calls):
            ask(built(token))

    client_of = functools.cache(built)

    def kept(token: str, calls: int) -> None:
        for _ in range(calls):
            ask(client_of(token))

    return {KIT: kit, APPS: apps, KEPT: kept}


def vector_search_ways(host: str) -> dict[str, Way]:
    """A tool that looks an index up and searches it, through the vector-search client."""
    from databricks.vector_search.client import VectorSearchClient

    from obo_kit import user_session, with_user_client

    def search(client: Any) -> None:
        index = client.get_index(index_name=INDEX)
        index.similarity_search(query_text="refund", columns=["id"], num_results=1, disable_notice=True)

    @with_user_client
    def tool(client: VectorSearchClient) -> None:
        search(client)

    def built(token: str) -> Any:
        return VectorSearchClient(workspace_url=host, personal_access_token=token, disable_notice=True)

    def kit(token: str, calls: int) -> None:
        with user_session(host=host, token=token):
            for _ in range(calls):
                tool()

    def apps(token: str, calls: int) -> None:
        for _ in range(calls):
            search(built(token))

    client_of = functools.cache(built)

    def kept(token: str, calls: int) -> None:
        for _ in range(calls):
            search(client_of(token))

    return {KIT: kit, APPS: apps, KEPT: kept}


# --- measuring -------------------------------------------------------------------------------------------------------------


@dataclass
class Cost:
    """Of one user request: median milliseconds, requests, new connections."""

    milliseconds: float
    requests: float
    connections: float


class Workbench:
    """Measures ways against one workspace."""

    def __init__(self, server: Server, rounds: int) -> None:
        self._server = server
        self._tokens = server.tokens
        self._rounds = rounds
        self._connections: set[int] = set()

    def log(self) -> tuple[int, int]:
        """Requests and new connections since the last look. Nobody may have acted but the users."""
        entries = self._server.seen()
        assert all((user or "").startswith("user") for path, _, user in entries if "well-known" not in path)
        new = {connection for _, connection, _ in entries} - self._connections
        self._connections |= new
        return len(entries), len(new)

    def one_user_at_a_time(self, ways: dict[str, Way], calls: int) -> dict[str, Cost]:
        """The ways take turns; each round is another user's."""
        found: dict[str, list[tuple[list[float], int, int]]] = {name: [] for name in ways}
        for number in range(-2, self._rounds):  # the first rounds fill the pools
            # A kept client is the physical limit, so it is one user's throughout: with the others' it would be new.
            token = self._tokens[max(number, 0) % len(self._tokens)]
            for name, way in ways.items():
                gc.collect()  # the clients that another way has thrown away are its own cost
                took = []
                for _ in range(IN_A_ROW):
                    started = time.perf_counter()
                    way(self._tokens[0] if name == KEPT else token, calls)
                    took.append((time.perf_counter() - started) * 1e3)
                found[name].append((took, *self.log()))
        return {
            name: Cost(
                statistics.median(one for took, _, _ in costs[2:] for one in took),
                statistics.mean(requests for _, requests, _ in costs[2:]) / IN_A_ROW,
                statistics.mean(connections for _, _, connections in costs[2:]) / IN_A_ROW,
            )
            for name, costs in found.items()
        }

    def many_users_at_once(self, ways: dict[str, Way], calls: int, rounds: int) -> dict[str, Cost]:
        """Each user in a thread of their own, one request after another; milliseconds are wall time per request."""
        found: dict[str, Cost] = {}
        with ThreadPoolExecutor(USERS) as pool:
            for name, way in ways.items():
                if name == SERVING:
                    continue  # one place for the token: it cannot serve two users at once
                list(pool.map(lambda token, way=way: way(token, calls), self._tokens))
                self.log()
                started = time.perf_counter()
                list(pool.map(lambda token, way=way: [way(token, calls) for _ in range(rounds)], self._tokens))
                elapsed = (time.perf_counter() - started) * 1e3
                requests, connections = self.log()
                total = USERS * rounds
                found[name] = Cost(elapsed / total, requests / total, connections / total)
        return found


def print_costs(title: str, found: dict[str, Cost]) -> None:
    base = found[KIT].milliseconds
    for name, cost in found.items():
        ratio = "" if name == KIT else f"{cost.milliseconds / base:.2f} x"
        label = title if name == KIT else ""
        print(
            f"{label:<34}{name:<23}{cost.milliseconds:>9.2f}{cost.requests:>10.1f}{cost.connections:>11.2f}{ratio:>11}"
        )


# --- what the kit itself costs ----------------------------------------------------------------------------------------------


def best(call: Callable[[], Any], number: int) -> float:
    """Microseconds of one call: the least of many short repeats, which other load disturbs least."""
    call()
    return min(timeit.repeat(call, number=number, repeat=300)) / number * 1e6


def overhead() -> float:
    """Microseconds that a no-op tool costs under all three decorators, over `functools.wraps` alone."""
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

    return best(lambda: tool("x"), 200) - best(lambda: wrapped("x"), 200)


def kilobytes_of_live_sessions(host: str, token: str, count: int = 300) -> float:
    from obo_kit import user_session

    kept = []
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(count):
        scope = user_session(host=host, token=token)
        context = contextvars.Context()
        kept.append((scope, context, context.run(scope.__enter__).client))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    for scope, context, _ in kept:
        context.run(scope.__exit__, None, None, None)
    return (after - before) / count / 1024


def import_milliseconds() -> float:
    """Of processor time, which other load disturbs less than the clock."""

    def least(program: str) -> float:
        found = []
        for _ in range(15):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([sys.executable, "-c", program], check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            found.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return min(found) * 1e3

    return least("import obo_kit") - least("pass")


def own_costs(host: str, token: str) -> dict[str, tuple[float, str]]:
    """What the kit itself costs: a value and a unit for each line of the last table."""
    from obo_kit import user_session

    def bare() -> None:
        with user_session(host=host, token=token):
            pass

    def captured() -> None:
        with user_session():
            pass

    def with_client() -> None:
        with user_session(host=host, token=token) as session:
            _ = session.client

    with user_session(host=host, token=token):
        tool = overhead()
    return {
        "open and close a session": (best(bare, 50), "us"),
        "the same, captured in Model Serving": (best(captured, 10), "us"),
        "the same, with a WorkspaceClient in it": (best(with_client, 5), "us"),
        "a decorated no-op tool, over functools.wraps": (tool, "us"),
        "a live session with a client": (kilobytes_of_live_sessions(host, token), "KB"),
        "import obo_kit, over the interpreter": (import_milliseconds(), "ms"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--rounds", type=int, default=10, help="turns of each way, of three user requests each (default: 10)"
    )
    parser.add_argument(
        "--latency", type=float, nargs="*", default=[0.0, 0.005, 0.020], help="seconds, in the server and on the way"
    )
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    for name in [name for name in os.environ if name.startswith("DATABRICKS_")]:
        del os.environ[name]
    with running(furnish) as server:
        os.environ["REQUESTS_CA_BUNDLE"] = os.environ["SSL_CERT_FILE"] = server.bundle
        # What the Model Serving recipe reads. DATABRICKS_HOST stays unset: with it, the recipe asks the host who it is.
        os.environ["IS_IN_DB_MODEL_SERVING_ENV"] = "true"
        threading.main_thread().__dict__["invokers_token"] = server.tokens[0]
        os.environ["DATABRICKS_MODEL_SERVING_HOST_URL"] = server.near
        at_the_start = own_costs(server.near, server.tokens[0])
        bench = Workbench(server, options.rounds)
        for where, host in (("in the server", server.near), ("on the way", server.far)):
            os.environ["DATABRICKS_MODEL_SERVING_HOST_URL"] = host
            sdk, openai, vectors = sdk_ways(host), openai_ways(host), vector_search_ways(host)
            for seconds in options.latency:
                if where == "in the server":
                    server.latency(in_server=seconds)
                elif seconds:
                    server.latency(on_the_way=seconds)
                else:
                    continue  # nowhere: it was measured
                print(
                    f"\n{seconds * 1e3:g} ms {where}; medians of {options.rounds * IN_A_ROW} user requests over HTTPS"
                )
                print(f"{'one user request of':<57}{'ms':>9}{'requests':>10}{'new conns':>11}{'to the kit':>11}")
                print_costs("1 SDK call", bench.one_user_at_a_time(sdk, 1))
                print_costs(f"{CALLS} SDK calls", bench.one_user_at_a_time(sdk, CALLS))
                print_costs(f"{CALLS} DatabricksOpenAI calls", bench.one_user_at_a_time(openai, CALLS))
                print_costs(f"{CALLS} vector searches (2 requests)", bench.one_user_at_a_time(vectors, CALLS))
                at_once = bench.many_users_at_once(sdk, CALLS, max(1, options.rounds // 5))
                print_costs(f"{CALLS} SDK calls, {USERS} users at once", at_once)
        server.latency()
        print("\nthe kit itself; the least of many repeats, at the start and at the end")
        os.environ["DATABRICKS_MODEL_SERVING_HOST_URL"] = server.near
        for what, (value, unit) in own_costs(server.near, server.tokens[0]).items():
            print(f"{what:<46}{min(value, at_the_start[what][0]):>9.2f} {unit}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
