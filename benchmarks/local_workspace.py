"""How quick the local workspace is: its start and stop, and the requests it answers per second on simple paths.

Run it with `make bench-workspace`. Clients and workspace share one process in the first row, as in a test suite, and have
one each in the second.
"""

from __future__ import annotations

import argparse
import http.client
import multiprocessing
import os
import statistics
import sys
import threading
import time

START, STOP, RATE = 0.300, 0.500, 500.0
PATHS = ("/api/2.0/preview/scim/v2/Me", "/api/2.0/sql/warehouses/wh1", "/api/2.0/serving-endpoints/llm")


def cycles(number: int) -> tuple[float, float, float]:
    """Seconds that the first start takes after the import, and medians of start and stop."""
    from obo_kit.testing import LocalWorkspace

    starts, stops = [], []
    for _ in range(number):
        begun = time.perf_counter()
        workspace = LocalWorkspace().start()
        starts.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        workspace.stop()
        stops.append(time.perf_counter() - begun)
    return starts[0], statistics.median(starts[1:]), statistics.median(stops)


def hammer(port: int, tokens: list[str], threads: int, requests: int) -> float:
    """Requests per second from so many threads, each with a connection and a user of its own."""
    together = threading.Barrier(threads + 1)
    failed: list[int] = []

    def client(token: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        connection.connect()
        together.wait()
        for number in range(requests):
            connection.request("GET", PATHS[number % len(PATHS)], headers={"Authorization": f"Bearer {token}"})
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                failed.append(response.status)
        connection.close()

    workers = [threading.Thread(target=client, args=(tokens[number % len(tokens)],)) for number in range(threads)]
    for worker in workers:
        worker.start()
    together.wait()
    begun = time.perf_counter()
    for worker in workers:
        worker.join()
    seconds = time.perf_counter() - begun
    if failed:
        raise SystemExit(f"{len(failed)} requests failed, with {sorted(set(failed))}")
    return threads * requests / seconds


def elsewhere(pipe, *arguments) -> None:
    """The clients, in a process of their own."""
    pipe.send(hammer(*arguments))


def rates(threads: int, requests: int) -> tuple[float, float]:
    """Requests per second with the clients in this process, and with the clients in another."""
    from obo_kit.testing import LocalWorkspace

    config = {
        "users": [f"user{number:02}" for number in range(threads)],
        "warehouses": ["wh1"],
        "endpoints": {"llm": "Hello"},
        "grants": {"users": {"CAN USE": "wh1", "CAN QUERY": "llm"}},
    }
    with LocalWorkspace.from_config(config) as workspace:
        tokens = [workspace.token(user) for user in workspace.users]
        port = int(workspace.host.rpartition(":")[2])
        hammer(port, tokens, threads, 10)
        here = hammer(port, tokens, threads, requests)
        pipe, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=elsewhere, args=(theirs, port, tokens, threads, requests)
        )
        process.start()
        there = pipe.recv()
        process.join()
        wrong = [record for record in workspace.log if record.user is None]
        if wrong:
            raise SystemExit(f"{len(wrong)} requests were attributed to nobody")
    return here, there


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=16, help="client threads (default: 16)")
    parser.add_argument("--requests", type=int, default=200, help="requests per thread (default: 200)")
    parser.add_argument("--cycles", type=int, default=20, help="starts and stops (default: 20)")
    options = parser.parse_args()

    begun = time.perf_counter()
    from obo_kit.testing import LocalWorkspace

    LocalWorkspace()
    imported = time.perf_counter() - begun
    first, start, stop = cycles(options.cycles)
    here, there = rates(options.threads, options.requests)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before this; {options.threads} client threads\n")
    rows = [
        ("import and first object", f"{imported * 1e3:.0f} ms", "", True),
        ("first start after that", f"{first * 1e3:.0f} ms", f"< {START * 1e3:.0f} ms", first < START),
        ("start, median", f"{start * 1e3:.1f} ms", f"< {START * 1e3:.0f} ms", start < START),
        ("stop, median", f"{stop * 1e3:.1f} ms", f"< {STOP * 1e3:.0f} ms", stop < STOP),
        ("requests/s, one process", f"{here:.0f}", f">= {RATE:.0f}", here >= RATE),
        ("requests/s, clients elsewhere", f"{there:.0f}", f">= {RATE:.0f}", there >= RATE),
    ]
    for name, found, target, good in rows:
        print(f"{name:<32}{found:>10}  {target:<10} {'' if good else 'MISSED'}".rstrip())
    return 0 if all(good for *_, good in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
