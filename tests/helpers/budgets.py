"""Functions that branch too much: their number has a budget, which only ever gets smaller (`make check`)."""

from __future__ import annotations

from pathlib import Path

from radon.complexity import cc_visit  # type: ignore[import-untyped]

PACKAGE = Path(__file__).parents[2] / "obo_kit"
COMPLEXITY = 15
MOST = 0


def main() -> int:
    """Print the functions of more branches than that, the worst first."""
    functions = sorted(
        (
            (block.complexity, f"{path.relative_to(PACKAGE)}:{block.lineno} {block.fullname}")
            for path in PACKAGE.rglob("*.py")
            for block in cc_visit(path.read_text("utf-8"))
            if block.complexity > COMPLEXITY and block.letter in "FM"
        ),
        reverse=True,
    )
    print(*(f"{complexity:3} {place}" for complexity, place in functions), sep="\n")
    print(f"{len(functions)} functions of cyclomatic complexity over {COMPLEXITY}; at most {MOST}")
    return len(functions) > MOST


if __name__ == "__main__":
    raise SystemExit(main())
