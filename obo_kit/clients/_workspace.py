"""The `WorkspaceClient` of one user: pinned, fenced, and cheap (rules 5 and 8 to 11).

All users of a process share what the host says of itself. Tokens, cookies, headers and configurations belong to one user. This
module imports the Databricks SDK, so it is imported with the first client.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from typing import TYPE_CHECKING, Any, cast

from databricks.sdk import WorkspaceClient
from databricks.sdk.clock import Clock
from databricks.sdk.core import Config
from databricks.sdk.credentials_provider import CredentialsStrategy, OAuthCredentialsProvider
from databricks.sdk.oauth import Token

from obo_kit._utils.version import __version__
from obo_kit.clients._connections import HostDescription, shared
from obo_kit.clients._patches import patch_clients
from obo_kit.clients._pipeline import refuse_another_s
from obo_kit.exceptions import IdentityMismatchError, NoUserIdentityError
from obo_kit.identity._credentials import Leased, LeasedToken, MaskedToken
from obo_kit.identity._user import origin_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from obo_kit.identity._credentials import Lease

__all__: list[str] = []

_UNREACHABLE_SECONDS = 60.0  # how long a host that did not describe itself is not asked again


# --- configuration -----------------------------------------------------------------------------------------------------------


def _check(lease: Lease) -> None:
    """Refuse to give a token away before it is in any frame."""
    lease.host()
    refuse_another_s(lease)


class _HermeticConfig(Leased, Config):
    """A configuration of only its arguments: nothing comes from the environment, from a profile or from the app."""

    def _load_from_env(self) -> None:
        pass

    def __copy__(self) -> Any:
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin


_NUMBERS = itertools.count(1)


class _UserConfig(_HermeticConfig):
    """One user's configuration. The host is asked about itself once per process, not once per client."""

    def __init__(self, lease: Lease, **settings: Any) -> None:
        self._lease = lease
        self._number = next(_NUMBERS)
        super().__init__(**settings)

    @property
    def host(self) -> str:
        """Return the user's workspace. Everything that is made from this configuration goes there, and nowhere else."""
        return str(self._inner.get("host", ""))

    @host.setter
    def host(self, value: str) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        identity = self._lease.identity
        bound = identity.host if identity is not None else ""
        if value is None or origin_of(str(value)) != bound:
            raise IdentityMismatchError(
                f"This configuration acts as a user of {bound}, and cannot switch to another host.",
                remedy="Build a client of your own for the other host, with credentials of your own.",
            )
        self._inner["host"] = bound

    @property
    def token(self) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return the current token: some clients copy it when they are built. Nothing here keeps one."""
        _check(self._lease)
        return LeasedToken(self._lease, _check)

    def as_dict(self) -> dict[str, Any]:
        """Return the settings. The token in them is not readable, differs for each session, and acts as the session's user."""
        return {**self._inner, "token": MaskedToken(self._lease, _check, text=f"*** of session {self._number}")}

    def authenticate(self) -> dict[str, str]:
        """Return the authentication headers, for code that sends requests by itself. Nothing narrows those requests."""
        if self._withholds:
            raise NoUserIdentityError(
                "This client's package sends requests of its own after an error, and the kit does not let them pass.",
                remedy="Look at the first error.",
            )
        return super().authenticate()

    _withholds = False

    def debug_string(self) -> str:
        """Return the SDK's addition to messages. The SDK's own names every environment variable that could give an identity."""
        return f"Config: host={self.host}, token=***, auth_type={self.auth_type}"

    def _resolve_host_metadata(self) -> None:
        pass


# The SDK collects its attributes from whichever class asks first, and a subclass has none of its own.
Config.attributes()


class _Nobody(CredentialsStrategy):
    def auth_type(self) -> str:
        return "none"

    def __call__(self, cfg: Config) -> Callable[[], dict[str, str]]:
        return dict


def _host(host: str) -> HostDescription:
    process = shared()
    description = process.hosts.get(host)
    if description is not None and description.until > time.monotonic():
        return description
    with process.lock:
        lock = process.host_locks.setdefault(host, threading.RLock())
    with lock:
        description = process.hosts.get(host)
        if description is not None and description.until > time.monotonic():
            return description
        asked = _HermeticConfig(
            host=host, credentials_strategy=_Nobody(), retry_timeout_seconds=1, http_timeout_seconds=2.0
        )
        answered = any((asked.workspace_id, asked.account_id, asked.discovery_url, asked.cloud))
        described = HostDescription(
            workspace_id=asked.workspace_id,
            account_id=asked.account_id,
            discovery_url=asked.discovery_url,
            cloud=asked.cloud,
            until=float("inf") if answered else time.monotonic() + _UNREACHABLE_SECONDS,
        )
        process.hosts[host] = described
        return described


# --- the client ------------------------------------------------------------------------------------------------------------


class _Credentials(CredentialsStrategy):
    """Serves every official client: ``pat`` and a token for those that read it, an OAuth provider for those that ask for
    one."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def auth_type(self) -> str:
        return "pat"

    def __call__(self, cfg: Config) -> OAuthCredentialsProvider:
        return OAuthCredentialsProvider(self._header, self._oauth_token)

    def _header(self) -> dict[str, str]:
        _check(self._lease)
        return {"Authorization": LeasedToken(self._lease, _check, scheme="Bearer ")}

    def _oauth_token(self) -> Token:
        _check(self._lease)
        return Token(access_token=LeasedToken(self._lease, _check), token_type="Bearer")  # noqa: S106


class _Patience(threading.local):
    deadline = 0.0
    passed = 0.0  # seconds of waits that were skipped
    slept = False


class _BoundedClock(Clock):
    """A clock that skips waits longer than the session allows: they count as over, and so does the time for retries. The SDK
    itself waits as long as ``Retry-After`` says, past its own deadline."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._of_thread = _Patience()

    def time(self) -> float:
        patience = self._of_thread
        now = time.monotonic() + patience.passed
        if not patience.slept:  # a new call begins
            patience.deadline = now + self._longest
        patience.slept = False
        return now

    def sleep(self, seconds: float) -> None:
        patience = self._of_thread
        patience.slept = True
        if time.monotonic() + patience.passed + seconds > patience.deadline:
            patience.passed += seconds
        else:
            time.sleep(seconds)


class _UserWorkspaceClient(Leased, WorkspaceClient):
    """A `WorkspaceClient` that acts as one user until that user's session closes."""

    def __copy__(self) -> Any:
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def without_headers(self) -> Any:
        """Return a copy whose configuration gives no headers: the fence authenticates its own requests."""
        twin = self.__copy__()
        config = cast("_UserConfig", self._config.copy())
        config._withholds = True
        twin._config = config
        return twin


def _config(lease: Lease) -> Config:
    host = lease.host()
    described, limits = _host(host), lease.limits
    retry = math.ceil(limits.retry)  # the SDK drops fractions, and replaces 0 by its own 300
    return _UserConfig(
        lease,
        host=host,
        auth_type="pat",
        credentials_strategy=_Credentials(lease),
        workspace_id=described.workspace_id,
        account_id=described.account_id,
        discovery_url=described.discovery_url,
        cloud=described.cloud,
        http_timeout_seconds=limits.read,
        retry_timeout_seconds=retry,
        clock=_BoundedClock(retry),
        product="obo-kit",
        product_version=__version__,
    )


def workspace_client(lease: Lease, get: Callable[[str], Any]) -> WorkspaceClient:
    """Build a `WorkspaceClient` that acts as one user until that user's session closes."""
    del get
    patch_clients()
    return _UserWorkspaceClient(config=_config(lease))
