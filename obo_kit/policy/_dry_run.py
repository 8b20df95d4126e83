"""MLflow's dry run: it runs ``predict`` once, without a user, before it logs a model."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from obo_kit.identity._process import PROCESS

__all__ = ["silent_dry_run"]

_ABOVE_ALL = logging.CRITICAL + 1


@contextlib.contextmanager
def silent_dry_run() -> Iterator[None]:
    """Keep what the kit says of a request without a user out of the log for the block: there is none by intention."""
    logger = logging.getLogger("obo_kit")
    level, said = logger.level, PROCESS.developer_said
    logger.setLevel(_ABOVE_ALL)
    try:
        yield
    finally:
        logger.setLevel(level)
        PROCESS.developer_said = said
