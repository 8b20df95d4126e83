"""Run in a fresh process: load an agent file with MLflow's own loader, and write down what it declared."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

__all__: list[str] = []


def main() -> None:
    """Read what to collect from standard input; write the declarations to the file named there."""
    asked = json.load(sys.stdin)
    sys.path[:] = asked["sys_path"]
    answer: dict[str, Any]
    try:
        from mlflow.models.utils import _load_model_code_path

        _load_model_code_path(asked["path"], asked["model_config"])
    except BaseException as error:
        cause = error.__cause__ or error
        last = next(
            (
                frame
                for frame in reversed(traceback.extract_tb(cause.__traceback__))
                if "importlib" not in frame.filename
            ),
            None,
        )
        answer = {
            "error": f"{type(cause).__name__}: {cause}",
            "at": f"{last.filename}:{last.lineno}" if last is not None else None,
        }
    else:
        from obo_kit.policy import as_json
        from obo_kit.requirements import REGISTRY

        answer = {"declarations": [as_json(declaration) for declaration in REGISTRY]}
    written = Path(asked["answer"]).with_suffix(".part")
    written.write_text(json.dumps(answer), "utf-8")
    written.replace(asked["answer"])
    sys.stderr.flush()
    # Threads that the agent file started, a scheduler say, would keep the process alive.
    os._exit(0)


if __name__ == "__main__":
    main()
