"""Read files of unknown origin: only regular files, up to a size limit, inside the folder that they were found in."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from pathlib import Path

__all__: list[str] = []

_LIMIT = 64 * 2**20


def read_regular(path: str | os.PathLike[str], *, inside: Path | None = None, limit: int = _LIMIT) -> bytes:
    """Return the content of a regular file. Pipes, devices and sockets are refused before they are opened.

    Args:
        path: The path of the file.
        inside: The folder that the file was found in. A symbolic link must not lead out of it. Pass ``None`` for a file
            that the caller named.
        limit: The maximum size in bytes.

    Raises:
        OSError: The file cannot be read, is not a regular file, is too large, or is a link out of its folder.
    """
    path = Path(path)
    if inside is not None and not path.resolve().is_relative_to(inside.resolve()):
        raise OSError(errno.EPERM, "is a symbolic link out of its folder")
    _refuse_special(os.stat(path))
    with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as file:
        _refuse_special(os.fstat(file.fileno()))
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"is larger than {limit // 2**20} MB")
    return content


def write_whole(path: str | os.PathLike[str], text: str) -> None:
    """Put a text in the place of a file's, whole or not at all; a file that is there keeps its mode.

    Raises:
        OSError: It cannot be written.
    """
    real = Path(path).resolve()
    temporary = real.with_name(f".{real.name}.{secrets.token_hex(4)}")
    try:
        with open(temporary, "x", encoding="utf-8", newline="") as file:
            file.write(text)
        if real.exists():
            shutil.copymode(real, temporary)
        os.replace(temporary, real)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _refuse_special(status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "is not a regular file")
