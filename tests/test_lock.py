"""What `make` installs: a version and hashes for all that pyproject.toml asks for, and no word of where it came from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

try:
    import tomllib
except ImportError:  # Python 3.10; pytest brings it there
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
GROUPS = PROJECT["dependency-groups"]
LOCKS = {
    "test": [*EXTRAS, "test", "check", "docs", "bench", "build"],
    "apps": ["testing", "test", "apps"],
    "mcp2": ["testing", "mcp", "test", "fastmcp"],
    "lowest": ["testing", "mcp", "test"],
    "lowest-frameworks": ["testing", "langchain", "openai", "mcp", "test"],
}
PIN = re.compile(
    r"^([A-Za-z0-9._-]+)==(\S+)(?: ; (.+?))? \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)


def pins(lock: str) -> dict[str, list[str]]:
    versions: dict[str, list[str]] = {}
    for name, version, _, _ in PIN.findall((ROOT / "locks" / f"{lock}.txt").read_text("utf-8")):
        versions.setdefault(canonicalize_name(name), []).append(version)
    return versions


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_holds_all_that_is_asked_for(lock):
    """Fix: make lock."""
    versions = pins(lock)
    wanted = [*PROJECT["project"]["dependencies"]]
    for name in LOCKS[lock]:
        wanted += EXTRAS.get(name, []) if name in EXTRAS else GROUPS[name]
    for requirement in map(Requirement, wanted):
        locked = versions.get(canonicalize_name(requirement.name), [])
        assert locked, f"{requirement} is not in locks/{lock}.txt"
        assert all(requirement.specifier.contains(version) for version in locked), (str(requirement), locked)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_says_nothing_of_where_it_was_made(lock):
    """Each line is a version with a hash: neither a registry nor a path."""
    text = (ROOT / "locks" / f"{lock}.txt").read_text("utf-8")
    assert PIN.sub("", text).strip() == ""
    assert {path.stem for path in (ROOT / "locks").iterdir()} == set(LOCKS)
