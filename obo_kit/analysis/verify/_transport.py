"""Send the requests of the list, and none but these: at a bounded rate, within a budget, and never after a redirect."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError

from obo_kit._utils.version import __version__
from obo_kit.exceptions import OboError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from obo_kit.analysis.verify._probe import Probe

__all__ = ["BudgetError", "OffListError", "OutageError", "Raw", "Sender"]

TOKEN_PATH: Final = "/oidc/v1/token"  # noqa: S105  a path
EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_BODY: Final = 64 * 1024
_TIMEOUT: Final = (5.0, 20.0)  # to connect, and until the next bytes
_LONGEST_ANSWER: Final = 30.0  # of all its bytes that are read
_LONGEST_WAIT: Final = 30.0  # of what a Retry-After may ask for
_BUSY: Final = (429, 503)
_FAILED: Final = (500, 502, 503, 504)


class OffListError(OboError):
    """A request is not on the list. Nothing was sent."""


class BudgetError(OboError):
    """The budget of requests is spent."""


class OutageError(OboError):
    """The workspace does not answer any more."""


@dataclass(frozen=True, kw_only=True)
class Raw:
    """An answer, as it came. Lives no longer than it takes to make a shape of it.

    Attributes:
        status: HTTP status; 0 where there was no answer.
        headers: Its headers, by lower-case name.
        body: Its first 64 kB.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def failed(self) -> bool:
        """Return whether the workspace failed to answer, or asked to wait."""
        return self.status in (429, *_FAILED) or not 100 <= self.status <= 599


class _ListedOnly(HTTPAdapter):
    """Lets a request out only where method, address and body are on the list. Whoever builds it, it goes this way."""

    def __init__(self, host: str, probes: Iterable[Probe], exchanges: Iterable[tuple[str, ...]]) -> None:
        self._origin = _origin(host)
        self._exchanges = frozenset(exchanges)
        self._listed = frozenset((probe.method, probe.target, probe.body) for probe in probes)
        super().__init__(max_retries=0)

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        """Send a request of the list.

        Raises:
            OffListError: It is not on it.
        """
        parts = urlsplit(request.url or "")
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        body = request.body or b""
        body = (
            body.encode()
            if isinstance(body, str)
            else body
            if isinstance(body, bytes)
            else b"(a stream, which is on no list)"
        )
        listed = (request.method, target, body) in self._listed or self._exchanges_token(request.method, target, body)
        if _origin(request.url or "") != self._origin or not listed:
            raise OffListError(
                f"{request.method} {parts.path} is not on the list of safe requests, so nothing was sent.",
                remedy="See the list with `obo-kit verify --dry-run`.",
            )
        return super().send(request, *args, **kwargs)

    def _exchanges_token(self, method: str | None, target: str, body: bytes) -> bool:
        """Check whether it exchanges a token for one of the scopes that were allowed: the one request with a secret in it."""
        if (method, target) != ("POST", TOKEN_PATH):
            return False
        form = dict(parse_qsl(body.decode("ascii", "replace")))
        return form.get("grant_type") == EXCHANGE and tuple(form.get("scope", "").split()) in self._exchanges


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port


class Sender:
    """Sends requests of the list to one workspace, one at a time.

    Args:
        host: The workspace.
        probes: The list.
        exchanges: The scopes that tokens may be exchanged for; none by default.
        rate: Requests a second, at most.
        budget: Requests, at most, repeated ones counted.
        patience: Seconds that an outage may last before the run stops.
        sleep: Waits.
        clock: Tells the time.
    """

    def __init__(
        self,
        host: str,
        probes: Iterable[Probe],
        *,
        exchanges: Iterable[tuple[str, ...]] = (),
        rate: float = 10.0,
        budget: int = 400,
        patience: float = 15.0,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._host = host.rstrip("/")
        self._pause = 1 / rate
        self._patience = patience
        self._sleep = sleep
        self._clock = clock
        self._next = float("-inf")
        self._failing_since: float | None = None
        self._paths_failing: set[str] = set()
        self.left = budget
        self.sent = 0
        self._session = requests.Session()
        self._session.cookies.set_policy(
            DefaultCookiePolicy(allowed_domains=[])
        )  # one request knows nothing of another
        only = _ListedOnly(host, probes, exchanges)
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, only)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def send(self, probe: Probe, authorization: str | None) -> Raw:
        """Send a request, again where the workspace asks to wait or fails, and return the answer.

        Raises:
            OffListError: It is not on the list.
            BudgetError: The budget is spent.
            OutageError: The workspace has not answered any request for as long as the patience lasts.
        """
        attempt = 0
        while True:
            raw = self._sent(probe, authorization)
            attempt += 1
            if not raw.failed:
                self._failing_since = None
                self._paths_failing.clear()
                return raw
            self._note_failure(probe)
            if attempt > 2:
                return raw
            self._sleep(_wait(raw, attempt))

    def _note_failure(self, probe: Probe) -> None:
        now = self._clock()
        self._failing_since = self._failing_since if self._failing_since is not None else now
        self._paths_failing.add(probe.target)
        # One path may be broken by itself: an outage is of several.
        if now - self._failing_since >= self._patience and len(self._paths_failing) > 2:
            raise OutageError(
                "The workspace does not answer any more, or answers that there were too many requests.",
                remedy="Run the same command again later with --resume: what was answered is kept.",
            )

    def exchange(self, form: Mapping[str, str]) -> bytes:
        """Send an OAuth token exchange, and return the body of the answer: it is the caller's to forget."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._out("POST", TOKEN_PATH, urlencode(form).encode(), headers, stream=False).body

    def _sent(self, probe: Probe, authorization: str | None) -> Raw:
        headers = {"Accept": "application/json, text/event-stream"}
        if authorization is not None:
            headers["Authorization"] = authorization
        if probe.method == "POST":
            headers["Content-Type"] = probe.content_type
        return self._out(probe.method, probe.target, probe.body, headers, stream=probe.method == "POST")

    def _out(self, method: str, target: str, body: bytes, headers: dict[str, str], *, stream: bool) -> Raw:
        if self.left <= 0:
            raise BudgetError(
                "The budget of requests is spent.",
                remedy="Run the same command again with --resume, or allow more with --budget.",
            )
        now = self._clock()
        if self._next > now:
            self._sleep(self._next - now)
        self._next = max(now, self._next) + self._pause
        self.left -= 1
        self.sent += 1
        # Prepared by itself: a session would add the passwords of this machine (.netrc).
        headers = {"User-Agent": f"obo-kit-verify/{__version__}", **headers}
        request = requests.Request(method, self._host + target, headers=headers, data=body).prepare()
        request.url = self._host + target  # as it is on the list
        settings: dict[str, Any] = dict(self._session.merge_environment_settings(self._host, {}, True, None, None))
        try:
            sending = self._session.send(request, timeout=_TIMEOUT, allow_redirects=False, **settings)
            with contextlib.closing(sending) as response:
                return Raw(
                    status=response.status_code,
                    headers={name.lower(): value for name, value in response.headers.items()},
                    body=_read(response, stream=stream),
                )
        except (requests.RequestException, HTTPError):
            return Raw(status=0, headers={}, body=b"")


def _wait(raw: Raw, attempt: int) -> float:
    asked = raw.headers.get("retry-after", "")
    return min(float(asked), _LONGEST_WAIT) if asked.isdecimal() else 0.5 * 2 ** (attempt - 1)


def _read(response: requests.Response, *, stream: bool) -> bytes:
    """Read the start of a body. A stream of events may never end: its first event counts; one that was only opened has none."""
    events = response.headers.get("content-type", "").startswith("text/event-stream")
    if events and not stream:
        return b""
    read, until = b"", time.monotonic() + _LONGEST_ANSWER
    # As it arrives: whoever waits for a whole chunk waits as long as a server likes.
    while chunk := response.raw.read1(4096, decode_content=True):
        read += chunk
        if len(read) >= _BODY or time.monotonic() > until or (events and b"\n\n" in read.replace(b"\r\n", b"\n")):
            break
    return read[:_BODY]
