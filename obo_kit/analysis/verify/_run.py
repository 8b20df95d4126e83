"""Ask a workspace: in a fixed order, with what was answered kept at any moment, and nothing asked twice."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from obo_kit._utils.version import __version__
from obo_kit.analysis.verify._login import exchanged, whose
from obo_kit.analysis.verify._obo import OBO_PROBES, on_or_off
from obo_kit.analysis.verify._plan import listed, narrow_scopes, plan, sql_version
from obo_kit.analysis.verify._release import RUNTIMES, release_of
from obo_kit.analysis.verify._routes import ROUTE_PROBES
from obo_kit.analysis.verify._shapes import form_of, names_in, refusal_of, shape_of
from obo_kit.analysis.verify._transport import BudgetError, OutageError, Sender
from obo_kit.denials._classify import classify
from obo_kit.exceptions import DenialReason, NoUserIdentityError, OboError
from obo_kit.scopes._placeholders import placeholders
from obo_kit.scopes._recording import Recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from obo_kit.analysis.verify._login import Login, Token
    from obo_kit.analysis.verify._plan import Attempt, Named
    from obo_kit.analysis.verify._transport import Raw
    from obo_kit.scopes._recording import Answer, Case

__all__ = ["Options", "Outcome", "Run"]

_MADE_UP: Final = f"Bearer dapi{'0' * 32}"
_ME: Final = ROUTE_PROBES["route:GET /api/2.0/preview/scim/v2/Me"]
_NAMES: Final = 5000
# Answers that may be about the token or the network, instead of the request.
_MOST_HELD: Final = 5
_DOUBTS: Final[frozenset[Case]] = frozenset({"expired", "invalid_token", "policy"})


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
    # By token: answers that may be about it, until it is seen to work after them.
    _held: dict[str, tuple[Token, list[Answer]]] = field(default_factory=dict)
    _obo: dict[str, bytes] = field(default_factory=dict)
    _runtimes: Raw | None = None
    _sql_version: Raw | None = None
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
        before = self.before
        obo, _ = on_or_off(self._obo, "apps")
        obo_model_serving, _ = on_or_off(self._obo, "model-serving")
        if before is not None:
            obo = before.obo if obo == "unknown" else obo
            obo_model_serving = before.obo_model_serving if obo_model_serving == "unknown" else obo_model_serving
        return Recording(
            recorded=self.today().isoformat(),
            cloud=self.login.cloud,
            release=release_of(self._runtimes, self._sql_version),
            kit=__version__.partition("+")[0],  # a local label may be a name
            obo=obo,
            obo_model_serving=obo_model_serving,
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
        for label in [*self._held]:
            self._settle(sender, label)
        # At last: a warehouse that had to start is running by now.
        if (version := sql_version(self.named)) is not None:
            self._sql_version = sender.send(version, self.login.token.header())
        self.progress(len(attempts), len(attempts))
        self._complete = not self._failed

    def _look_around(self, sender: Sender) -> None:
        """Ask who asks, which release it is, and whether agents get users' tokens. Of these answers only that is kept."""
        self._see(self.login.host.partition("://")[2])
        for name in (*self.named.denied.values(), *self.named.use.values()):
            self._see(name)
        raw = sender.send(_ME, self.login.token.header())
        if raw.failed:
            raise OutageError(
                f"The workspace does not answer{f' (status {raw.status})' if raw.status else ''}.",
                remedy="Look at the address and at your network, or try again later.",
            )
        if (lost := _lost(raw)) is not None:
            raise lost
        self._remember(raw)
        self._asked_as = whose(_parsed(raw), self.login)
        for name, probe in (each for probes in OBO_PROBES.values() for each in probes.items()):
            raw = sender.send(probe, self.login.token.header())
            self._remember(raw)
            if raw.status == 200:
                self._obo[name] = raw.body
        self._runtimes = sender.send(RUNTIMES, self.login.token.header())

    def _ask(self, sender: Sender, attempt: Attempt) -> None:
        raw = sender.send(attempt.probe, self._authorization(attempt))
        if raw.failed:
            why = "It was refused for too many requests." if raw.status == 429 else "The workspace failed to answer it."
            self._failed.update({asked.claim: why for asked in attempt.asked})
            return
        answers = [
            shape_of(
                raw,
                attempt.probe,
                claim=asked.claim,
                intent=attempt.intent,
                scopes=attempt.scopes,
                seen=(*self._seen, *names_in(raw.body)),
            )
            for asked in attempt.asked
        ]
        self._remember(raw)
        doubtful = any(answer.form == "html" or answer.case in _DOUBTS for answer in answers)
        if attempt.token is None or attempt.token is self.expired:
            self._keep(answers)
        elif not doubtful:  # so the token works, and it worked before
            self._keep([*self._held.pop(attempt.token.label, (attempt.token, []))[1], *answers])
        else:
            _, held = self._held.setdefault(attempt.token.label, (attempt.token, []))
            held += answers
            if len(held) >= _MOST_HELD:
                self._settle(sender, attempt.token.label)

    def _keep(self, answers: Iterable[Answer]) -> None:
        self._answers.update({_key(answer): answer for answer in answers})

    def _settle(self, sender: Sender, label: str) -> None:
        """Keep the answers that were held back if their token still works.

        Raises:
            OutageError: The developer's own does not, or the network may not reach the workspace any more.
        """
        token, held = self._held.pop(label)
        lost = _lost(sender.send(_ME, token.header()))
        if lost is None:
            self._keep(held)
        elif token is self.login.token or not isinstance(lost, NoUserIdentityError):
            raise OutageError(lost.message, remedy=f"{lost.remedy} Then run the same command again with --resume.")
        else:
            self._failed.update({answer.claim: f"Your token with {label} does not work any more." for answer in held})

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


def _lost(raw: Raw) -> OboError | None:
    """Return why the one who asks does not get through to the workspace, as the answer to `_ME` says; None if they do."""
    if form_of(raw) == "html":
        return OutageError(
            "A page of HTML answers, as a proxy sends it, and not the API.",
            remedy="Look at the address and at your network.",
        )
    refusal = refusal_of(raw, _ME)
    finding = classify(refusal) if refusal is not None else None
    if finding is not None and finding.reason is DenialReason.POLICY:
        return OutageError(
            f"The workspace lets nobody in from here: {placeholders(finding.refusal.text)}",
            remedy="Ask an admin, or use the network that it allows.",
        )
    if raw.status == 401 or (finding is not None and finding.reason is DenialReason.TOKEN_EXPIRED):
        return NoUserIdentityError(
            "The workspace does not take your token.",
            remedy="Run `databricks auth login --host HOST`, and pass its --profile.",
        )
    return None


def _parsed(raw: Raw) -> object:
    try:
        return json.loads(raw.body)
    except (ValueError, RecursionError):
        return None
