"""MLflow traces each request. The traces of tests go into a store that lasts as long as the tests, and not into this folder."""

import os
import tempfile
from pathlib import Path

STORE = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
os.environ.setdefault("MLFLOW_TRACKING_URI", f"sqlite:///{Path(STORE.name, 'mlflow.db').as_posix()}")
