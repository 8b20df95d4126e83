from pathlib import Path

import mlflow

Path("wheels").mkdir()
Path("wheels/obo_kit-0.1.0-py3-none-any.whl").write_bytes(b"PK\x05\x06" + bytes(18))  # an archive with nothing in it
model_version = 1
