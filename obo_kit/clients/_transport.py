"""Send synchronous requests through the pool of this process, and provide the transport for `requests` that does so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

import requests
from requests.adapters import BaseAdapter
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NewConnectionError,
    PoolError,
    ProtocolError,
    ProxyError,
    SSLError,
)
from urllib3.exceptions import TimeoutError as NoAnswerInTimeError

from obo_kit.clients._connections import (
    FIRST_BYTE_SECONDS,
    SLOW_SECONDS,
    Attempt,
    StaleConnectionError,
    pool,
    proxies_for,
    shared,
)
from obo_kit.clients._pipeline import begin, without_frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from obo_kit.clients._pipeline import Exchange
    from obo_kit.identity._credentials import Lease

__all__: list[str] = []

_BROKEN = (ProtocolError, NoAnswerInTimeError, NewConnectionError, SSLError, ProxyError, PoolError)
_NEVER_SENT = (NewConnectionError, ConnectTimeoutError)

Answer = TypeVar("Answer")


def deliver(exchange: Exchange, send: Callable[[dict[str, str]], Answer], *, again: bool) -> Answer:
    """Send a request with the user's headers. If it fails on a used connection, perhaps send it once more.

    Every exception leaves here without the frames that hold the headers (rule 8).

    Args:
        exchange: The request, which was checked. It is told of a failure.
        send: Sends the request with these headers, through the pool of this process.
        again: False if the body of the request can be read only once. A request that has an effect is never sent again.
    """
    try:
        return _answered(exchange, send, again and exchange.reads)
    except BaseException as error:
        cause = caused(error)
        if isinstance(cause, _BROKEN):
            exchange.fail(_described(error), sent=not isinstance(cause, _NEVER_SENT))
        raise without_frames(error)  # noqa: B904 - the error itself


def _answered(exchange: Exchange, send: Callable[[dict[str, str]], Answer], again: bool) -> Answer:
    headers = exchange.headers()
    if not again:
        return send(headers)
    slow, name = shared().slow, (exchange.route.path if exchange.route is not None else "", exchange.url.count("/"))
    patience = None if slow.get(name, 0.0) > time.monotonic() else FIRST_BYTE_SECONDS
    try:
        with Attempt(patience=patience):
            return send(headers)
    except (requests.ConnectionError, HTTPError) as error:
        cause = caused(error)
        if not isinstance(cause, ProtocolError):  # an established connection broke off
            raise
        stale = isinstance(cause.args[-1], StaleConnectionError)
    started = time.monotonic()
    with Attempt(fresh=True):
        answer = send(headers)
    if stale and time.monotonic() - started > FIRST_BYTE_SECONDS:
        slow[name] = time.monotonic() + SLOW_SECONDS  # the connection was not to blame
    return answer


def caused(error: BaseException) -> BaseException:
    """Return the error of `urllib3` that `requests`, or `urllib3`'s count of retries, wrapped in another."""
    while isinstance(error, (requests.RequestException, MaxRetryError)):
        inner = error.reason if isinstance(error, MaxRetryError) else error.args[0] if error.args else None
        if not isinstance(inner, Exception):
            break
        error = inner
    return error


def _described(error: BaseException) -> str:
    late = isinstance(cause := caused(error), NoAnswerInTimeError) and not isinstance(cause, NewConnectionError)
    return "no answer in time" if late else "the connection failed"


# --- requests ----------------------------------------------------------------------------------------------------------------


class RequestsTransport(BaseAdapter):
    """Sends the requests of a `requests.Session` as one user."""

    def __init__(self, lease: Lease) -> None:
        super().__init__()
        self._lease = lease
        self._proxies: dict[str, str] | None = None  # looked up with the first request

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
        if self._proxies is None:
            self._proxies = proxies_for(self._lease.host())
        through = proxies or self._proxies

        def sent(headers: dict[str, str]) -> requests.Response:
            with_token = request.copy()
            with_token.headers.update(headers)
            try:
                response = pool().send(with_token, stream=stream, timeout=(limits.connect, read), proxies=through)
                if not stream or response.status_code >= 400:
                    _ = response.content  # read it here, because an answer may also break off in the middle
            except requests.RequestException as error:
                error.request = request
                raise
            return response

        try:
            response = deliver(exchange, sent, again=isinstance(request.body, (bytes, str, type(None))))
        except requests.ConnectTimeout as error:
            # The SDK would raise this in the end. Raise it at once: TCP has already tried several times.
            raise TimeoutError(f"The workspace accepted no connection within {limits.connect:g} s.") from error
        except (requests.Timeout, requests.ConnectionError) as error:
            waited = time.monotonic() - started
            if waited < limits.retry:
                raise
            # The SDK would not try again, and would name its own limit instead of the time that was waited.
            raise TimeoutError(f"{_described(error).capitalize()}: waited {waited:.0f} s for the workspace.") from error
        response.request = request
        refused = response.status_code >= 400
        if refused:
            response._content = exchange.told(response.content)
        whole = refused or not stream
        exchange.record(response.status_code, response.headers, (lambda: response.content) if whole else None)
        return response

    def close(self) -> None:
        """Do nothing: the connections belong to the process."""


def attach(session: requests.Session, lease: Lease) -> None:
    """Make a `requests.Session` send as one user."""
    transport = RequestsTransport(lease)
    session.adapters.clear()
    session.mount("https://", transport)
    session.mount("http://", transport)
    # The transport looks up the proxies. With trust_env, a netrc entry would also replace the user's token.
    session.trust_env = False
    session.auth = None  # the exchange authenticates
