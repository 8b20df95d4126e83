"""Ask a workspace: in a fixed order, with what was answered kept at any moment, and nothing asked twice."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from obo_kit._utils.version import __version__
from obo_kit.analysis.verify._login import exchanged, whose
from obo_kit.analysis.verify._obo import OBO_PROBES, on_or_off
from obo_kit.analysis.verify._plan import listed, narrow_scopes, plan
from obo_kit.analysis.verify._routes import ROUTE_PROBES
from obo_kit.analysis.verify._shapes import names_in, shape_of
from obo_kit.analysis.verify._transport import BudgetError, OutageError, Sender
from obo_kit.exceptions import NoUserIdentityError
from obo_kit.scopes._recording import Recording

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from obo_kit.analysis.verify._login import Login, Token
    from obo_kit.analysis.verify._plan import Attempt, Named
    from obo_kit.analysis.verify._transport import Raw
    from obo_kit.scopes._recording import Answer

__all__ = ["Options", "Outcome", "Run"]

_MADE_UP: Final = f"Bearer dapi{'0' * 32}"
_ME: Final = ROUTE_PROBES["route:GET /api/2.0/preview/scim/v2/Me"]
_NAMES: Final = 5000


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to ask.

    Attributes:
        rate: Requests a second, at most.
        budget: Requests in all, at most.
        patience: Seconds that an outage may last.
        exchange: Whether to exchange the developer's token for narrower ones.
    """

    rate: float = 10.0
    budget: int = 400
    patience: float = 15.0
    exchange: bool = False


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a run.

    Attributes:
        recording: What was answered.
        failed: Why claims have no answer, by claim.
        sent: How many requests were sent.
        stopped: Why it stopped before its end; empty where it did not.
    """

    recording: Recording
    failed: dict[str, str]
    sent: int
    stopped: str = ""


@dataclass
class Run:
    """Ask one workspace. Lives as long as one command.

    Args:
        login: Who asks.
        narrow: Tokens that may do less.
        named: What the developer names.
        options: How to ask.
        expired: A token that has expired.
        before: What an earlier run was answered: it is not asked again.
        keep: Is called after each answer, to keep `recording`.
        progress: Is called with the number of attempts done, and of all.
    """

    login: Login
    narrow: Sequence[Token]
    named: Named
    options: Options
    expired: Token | None = None
    before: Recording | None = None
    keep: Callable[[], object] = lambda: None
    progress: Callable[[int, int], object] = lambda _done, _all: None
    today: Callable[[], datetime.date] = datetime.date.today
    _answers: dict[tuple[Any, ...], Answer] = field(default_factory=dict)
    _failed: dict[str, str] = field(default_factory=dict)
    _seen: dict[str, None] = field(default_factory=dict)
    _obo: dict[str, bytes] = field(default_factory=dict)
    _asked_as: Any = "unknown"
    _stopped: str = ""

    def run(self) -> Outcome:
        """Ask all that the plan holds.

        Raises:
            NoUserIdentityError: The workspace does not take the developer's token.
            KeyboardInterrupt: Somebody interrupts it; what was answered has been kept.
        """
        exchanges = narrow_scopes() if self.options.exchange else ()
        sender = Sender(
            self.login.host,
            listed(self.named),
            exchanges=exchanges,
            rate=self.options.rate,
            budget=self.options.budget,
            patience=self.options.patience,
        )
        try:
            self._ask_all(sender, exchanges)
        except (BudgetError, OutageError) as stop:
            self._stopped = f"{stop.message} Fix: {stop.remedy}"
        finally:
            sender.close()
            self.keep()
        return Outcome(recording=self.recording, failed=self._failed, sent=sender.sent, stopped=self._stopped)

    @property
    def recording(self) -> Recording:
        """Return the answers so far."""
        obo, _ = on_or_off(self._obo)
        before = self.before
        return Recording(
            recorded=self.today().isoformat(),
            cloud=self.login.cloud,
            kit=__version__.partition("+")[0],  # a local label may be a name
            obo=before.obo if before is not None and obo == "unknown" else obo,
            asked_as=self._asked_as,
            complete=self._complete and not self._stopped,
            answers=tuple(self._answers.values()),
        ).signed()

    _complete = False

    # ------------------------------------------------------------------ asking

    def _ask_all(self, sender: Sender, exchanges: Sequence[tuple[str, ...]]) -> None:
        if self.before is not None:
            self._answers = {_key(answer): answer for answer in self.before.answers}
        self._look_around(sender)
        narrow = [*self.narrow]
        for scopes in exchanges:
            if (token := exchanged(scopes, self.login, sender.exchange)) is not None:
                narrow.append(token)
            elif len(narrow) == len(self.narrow) and scopes == exchanges[1]:
                break  # neither of the first two: this workspace exchanges none
        attempts = plan([self.login.token, *narrow], self.named, expired=self.expired)
        for number, attempt in enumerate(attempts):
            self.progress(number, len(attempts))
            if not all(self._has(attempt, asked.claim) for asked in attempt.asked):
                self._ask(sender, attempt)
                self.keep()
        self.progress(len(attempts), len(attempts))
        self._complete = not self._failed

    def _look_around(self, sender: Sender) -> None:
        """Ask who asks, and whether apps get users' tokens. Of these answers only that is kept."""
        self._see(self.login.host.partition("://")[2])
        for name in (*self.named.denied.values(), *self.named.use.values()):
            self._see(name)
        raw = sender.send(_ME, self.login.token.header())
        if raw.failed:
            raise OutageError(
                f"The workspace does not answer{f' (status {raw.status})' if raw.status else ''}.",
                remedy="Look at the address and at your network, or try again later.",
            )
        if raw.status == 401 or (raw.status == 403 and b"nvalid access token" in raw.body):
            raise NoUserIdentityError(
                "The workspace does not take your token.",
                remedy="Run `databricks auth login --host HOST`, and pass its --profile.",
            )
        self._remember(raw)
        self._asked_as = whose(_parsed(raw), self.login)
        for name, probe in OBO_PROBES.items():
            raw = sender.send(probe, self.login.token.header())
            self._remember(raw)
            if raw.status == 200:
                self._obo[name] = raw.body

    def _ask(self, sender: Sender, attempt: Attempt) -> None:
        raw = sender.send(attempt.probe, self._authorization(attempt))
        if raw.failed:
            why = "It was refused for too many requests." if raw.status == 429 else "The workspace failed to answer it."
            self._failed.update({asked.claim: why for asked in attempt.asked})
            return
        self._remember(raw)
        for asked in attempt.asked:
            answer = shape_of(
                raw,
                attempt.probe,
                claim=asked.claim,
                intent=attempt.intent,
                scopes=attempt.scopes,
                seen=self._seen,
            )
            self._answers[_key(answer)] = answer

    def _authorization(self, attempt: Attempt) -> str | None:
        if attempt.token is not None:
            return attempt.token.header()
        return _MADE_UP if attempt.probe.token == "made_up" else None  # noqa: S105

    def _has(self, attempt: Attempt, claim: str) -> bool:
        return (claim, attempt.probe.request, attempt.scopes) in self._answers

    def _remember(self, raw: Raw) -> None:
        for name in names_in(raw.body):
            self._see(name)

    def _see(self, name: str) -> None:
        if len(self._seen) < _NAMES:
            self._seen[name] = None


def _key(answer: Answer) -> tuple[Any, ...]:
    return answer.claim, answer.request, answer.scopes


def _parsed(raw: Raw) -> object:
    try:
        return json.loads(raw.body)
    except (ValueError, RecursionError):
        return None
