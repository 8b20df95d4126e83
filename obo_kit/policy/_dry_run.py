"""Keep MLflow's dry run quiet: it calls ``predict`` once, without a user, before it logs a model."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from obo_kit.identity._process import DRY_RUN, PROCESS

__all__ = ["silent_dry_run"]

_LEVELS = {"obo_kit": logging.CRITICAL + 1, "mlflow.pyfunc": logging.WARNING}


@contextlib.contextmanager
def silent_dry_run() -> Iterator[None]:
    """Silence the kit's messages about a request without a user in a block: the dry run has none on purpose.

    MLflow's own warnings stay. In a process that named a user before, as a notebook may, nobody stands in:
    the run gets a session without a user, and no error.
    """
    before = [(logging.getLogger(name), level) for name, level in _LEVELS.items()]
    levels, said = [logger.level for logger, _ in before], PROCESS.developer_said
    for logger, level in before:
        logger.setLevel(level)
    dry_run = DRY_RUN.set(True)
    try:
        yield
    finally:
        DRY_RUN.reset(dry_run)
        for (logger, _), level in zip(before, levels, strict=True):
            logger.setLevel(level)
        PROCESS.developer_said = said
