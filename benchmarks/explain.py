"""What it costs to explain, and to decorate: `python benchmarks/explain.py`. Best of several runs, in microseconds.

Limits: 50 for `explain` on an exception, 5 for a tool that does nothing over `functools.wraps` (with a margin: see --check).
"""

from __future__ import annotations

import functools
import sys
import timeit

import requests
from databricks.sdk.errors.parser import _Parser

import obo_kit
from obo_kit import explain

LIMIT_EXPLAIN, LIMIT_TOOL = 50.0, 5.0


def best(fn, number: int = 2000) -> float:
    return min(timeit.repeat(fn, number=number, repeat=7)) / number * 1e6


def refused(status: int, body: str) -> Exception:
    response = requests.Response()
    response.status_code, response._content = status, body.encode()
    response.url = "https://example.com/api/2.0/x"
    response.request = requests.Request("GET", response.url).prepare()
    error = _Parser().get_api_error(response)
    assert error is not None
    return error


def nothing(x: int) -> int:
    return x


@functools.wraps(nothing)
def wrapped(*args, **kwargs):
    return nothing(*args, **kwargs)


def main() -> int:
    errors = {
        "a missing grant": refused(403, '{"error_code": "PERMISSION_DENIED", "message": "You may not."}'),
        "a missing scope": refused(403, '{"error_code": 403, "message": "x does not have required scopes: genie"}'),
        "a bug": ValueError("x"),
        "an outage": requests.ConnectionError("x"),
    }
    costs = {
        f"explain: {name}": (best(functools.partial(explain, error)), LIMIT_EXPLAIN) for name, error in errors.items()
    }
    tool = obo_kit.optional_tool(nothing)
    spent = best(lambda: tool(1), 20000) - best(lambda: wrapped(1), 20000)
    costs["a tool that does nothing, over functools.wraps"] = (spent, LIMIT_TOOL)
    for name, (cost, limit) in costs.items():
        print(f"{cost:8.1f} µs  (at most {limit:.0f})  {name}")
    return int("--check" in sys.argv and any(cost > limit for cost, limit in costs.values()))


if __name__ == "__main__":
    sys.exit(main())
