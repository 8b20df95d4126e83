"""Send synchronous requests through the pool of this process, and provide the transport for `requests` that does so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import BaseAdapter
from urllib3.exceptions import NewConnectionError, ProtocolError

from obo_kit.clients._connections import (
    FIRST_BYTE_SECONDS,
    SLOW_SECONDS,
    Attempt,
    StaleConnectionError,
    attempting,
    pool,
    proxies_for,
    shared,
)
from obo_kit.clients._pipeline import begin, without_frames

if TYPE_CHECKING:
    from obo_kit.clients._pipeline import Exchange
    from obo_kit.identity._credentials import Lease

__all__: list[str] = []

_BROKEN = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


def deliver(exchange: Exchange, request: requests.PreparedRequest, stream: bool, **settings: Any) -> requests.Response:
    """Send a request with the user's headers through the pool of this process, and record the outcome.

    Every exception leaves here without the frames that hold the headers (rule 8).
    """
    try:
        response = _answered(exchange, request, stream, settings)
    except BaseException as error:
        if isinstance(error, _BROKEN):
            exchange.fail(_described(error), sent=not _never_sent(error))
        if isinstance(error, requests.RequestException):
            error.request = request
        raise without_frames(error)  # noqa: B904 - the error itself
    response.request = request
    whole = not stream or response.status_code >= 400
    if response.status_code >= 400:
        response._content = exchange.told(response.content)
    exchange.record(response.status_code, response.headers, (lambda: response.content) if whole else None)
    return response


def _answered(exchange: Exchange, request: Any, stream: bool, settings: dict[str, Any]) -> requests.Response:
    """Send a request. If it only reads and fails on a used connection, send it once more on a fresh one."""
    sent = request.copy()
    sent.headers.update(exchange.headers())
    if not exchange.reads or not isinstance(sent.body, (bytes, str, type(None))):
        return _sent(sent, stream, settings)
    slow, name = shared().slow, (exchange.route.path if exchange.route is not None else "", exchange.url.count("/"))
    patience = None if slow.get(name, 0.0) > time.monotonic() else FIRST_BYTE_SECONDS
    try:
        with attempting(Attempt(patience=patience)):
            return _sent(sent, stream, settings)
    except requests.ConnectionError as error:
        if not _lost(error):
            raise
        stale = isinstance(_reason(error), StaleConnectionError)
    started = time.monotonic()
    with attempting(Attempt(fresh=True)):
        response = _sent(sent, stream, settings)
    if stale and time.monotonic() - started > FIRST_BYTE_SECONDS:
        slow[name] = time.monotonic() + SLOW_SECONDS  # the connection was not to blame
    return response


def _sent(request: requests.PreparedRequest, stream: bool, settings: dict[str, Any]) -> requests.Response:
    response = pool().send(request, stream=stream, **settings)
    if not stream or response.status_code >= 400:
        _ = response.content  # read it here, because an answer may also break off in the middle
    return response


def _described(error: BaseException) -> str:
    return "no answer in time" if isinstance(error, requests.Timeout) else "the connection failed"


def _reason(error: requests.RequestException) -> Any:
    """Return the reason that `urllib3` gives for a failure: the innermost of the errors that it wrapped."""
    wrapped = error.args[0] if error.args else None
    return wrapped.args[-1] if isinstance(wrapped, ProtocolError) else getattr(wrapped, "reason", None)


def _never_sent(error: requests.RequestException) -> bool:
    return isinstance(error, requests.ConnectTimeout) or isinstance(_reason(error), NewConnectionError)


def _lost(error: requests.RequestException) -> bool:
    """Return whether an established connection broke off."""
    return bool(error.args) and isinstance(error.args[0], ProtocolError)


# --- requests ----------------------------------------------------------------------------------------------------------------


class RequestsTransport(BaseAdapter):
    """Sends the requests of a `requests.Session` as one user."""

    def __init__(self, lease: Lease) -> None:
        super().__init__()
        self._lease = lease

    def send(  # noqa: PLR0917 - the signature is requests' own
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        limits, started = self._lease.limits, time.monotonic()
        exchange = begin(self._lease, request.method or "", request.url or "")
        read = timeout if isinstance(timeout, (int, float)) else limits.read
        try:
            return deliver(exchange, request, stream, timeout=(limits.connect, read), proxies=proxies)
        except requests.ConnectTimeout as error:
            # The SDK would raise this in the end. Raise it at once: TCP has already tried several times.
            raise TimeoutError(f"The workspace accepted no connection within {limits.connect:g} s.") from error
        except (requests.Timeout, requests.ConnectionError) as error:
            waited = time.monotonic() - started
            if waited < limits.retry:
                raise
            # The SDK would not try again, and would name its own limit instead of the time that was waited.
            raise TimeoutError(f"{_described(error).capitalize()}: waited {waited:.0f} s for the workspace.") from error

    def close(self) -> None:
        """Do nothing: the connections belong to the process."""


def attach(session: requests.Session, lease: Lease) -> None:
    """Make a `requests.Session` send as one user."""
    transport = RequestsTransport(lease)
    session.adapters.clear()
    session.mount("https://", transport)
    session.mount("http://", transport)
    # Proxies are resolved once here. With trust_env, a netrc entry would also replace the user's token.
    session.trust_env = False
    session.auth = None  # the exchange authenticates
    session.proxies = proxies_for(lease.host())
