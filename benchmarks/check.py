"""What `obo-kit check` costs on real code, beside ruff and compiling: `python benchmarks/check.py [TREE ...]`.

Without a tree it reads packages that are installed here. Wall clock and processor time of whole commands, the least of three
runs that take turns. Limit: 2 seconds for 100,000 lines (--check).
"""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

LIMIT = 2.0
INSTALLED = ("databricks", "databricks_ai_bridge", "databricks_langchain", "langchain", "langgraph", "mlflow", "openai")


def trees() -> list[Path]:
    """Return the folders to read."""
    named = [Path(one) for one in sys.argv[1:] if not one.startswith("-")]
    if named:
        return named
    found = (importlib.util.find_spec(name) for name in INSTALLED)
    return [Path(spec.submodule_search_locations[0]) for spec in found if spec and spec.submodule_search_locations]


def lines_of(folders: Sequence[Path]) -> int:
    return sum(path.read_bytes().count(b"\n") for folder in folders for path in folder.rglob("*.py") if path.is_file())


def seconds(command: Sequence[str], environment: dict[str, str]) -> tuple[float, float]:
    """Run a command; return its wall clock and its processor time."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    took, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    folders = trees()
    names, lines = [str(folder) for folder in folders], lines_of(folders)
    python = sys.executable
    ways = {
        "obo-kit check": [python, "-m", "obo_kit", "check", *names],
        "python -m compileall": [python, "-m", "compileall", "-q", "-f", "-j", "1", *names],
    }
    if (
        ruff := shutil.which("ruff", path=os.pathsep.join((str(Path(python).parent), os.environ.get("PATH", ""))))
    ) is not None:
        ways["ruff check (all cores)"] = [ruff, "check", "--no-cache", "--isolated", "--select", "F", *names]
    runs: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as compiled:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        for _ in range(3):
            for way, command in ways.items():
                runs[way].append(seconds(command, environment if "compileall" in way else dict(os.environ)))
    print(f"{lines:,} lines in {len(folders)} trees\n")
    print("              per 100,000 lines\nwall s   cpu s  wall s   cpu s")
    for way, times in runs.items():
        wall, cpu = min(one for one, _ in times), min(one for _, one in times)
        print(f"{wall:6.2f}  {cpu:6.2f}  {wall / lines * 1e5:6.2f}  {cpu / lines * 1e5:6.2f}  {way}")
    spent = min(wall for wall, _ in runs["obo-kit check"]) / lines * 1e5
    return int("--check" in sys.argv and spent > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
