"""Run in a fresh process: load an agent file with MLflow's own loader, and write down what it declared."""

from __future__ import annotations

import json
import os
import sys
import sysconfig
import traceback
from pathlib import Path
from typing import Any

from obo_kit._errors import OboError

__all__: list[str] = []


_NOT_THE_AUTHOR_S = (
    f"{Path(__file__).parent}{os.sep}",
    *(f"{path}{os.sep}" for name, path in sysconfig.get_paths().items() if "lib" in name),
    "<",
)


def _place(error: BaseException) -> str | None:
    """Where the author's own code failed, however deep in a library it ended."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(_NOT_THE_AUTHOR_S):
            return f"{frame.filename}:{frame.lineno}"
    return None


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
        own = cause if isinstance(cause, OboError) else None
        answer = {
            "error": f"{type(cause).__name__}: {own.message if own is not None else cause}",
            "remedy": own.remedy if own is not None else None,
            "at": _place(cause),
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
