"""``obo-kit verify``."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import signal
import sys
import textwrap
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from obo_kit.cli._terminal import RefusedError, fitted, json_option, print_json, progress, refusals, text_width, working
from obo_kit.exceptions import NoUserIdentityError
from obo_kit.scopes._lookup import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from obo_kit.analysis.verify._agent import Report
    from obo_kit.analysis.verify._compare import Kit, Result
    from obo_kit.analysis.verify._login import Login
    from obo_kit.analysis.verify._plan import Named
    from obo_kit.analysis.verify._run import Outcome
    from obo_kit.scopes._lookup import Target
    from obo_kit.scopes._recording import Recording

__all__ = ["verify"]

_KEPT_EVERY = 2.0  # seconds
_OTHERS = ("databricks.sdk", "requests", "urllib3")  # who sends for the command
_SHADES = {
    "agrees": "green",
    "differs": "red",
    "not_tried": "yellow",
    "ready": "green",
    "lacks": "red",
    "absent": "red",
}


@click.command(short_help="Ask your workspace whether it is as the kit says; changes nothing.")
@click.argument("agent", required=False)
@click.option("--profile", help="The profile that you are logged in with; by default, the environment's.")
@click.option("--host", help="The workspace, if neither a profile nor the environment names it.")
@click.option(
    "--target", type=click.Choice(TARGETS), help="The runtime of AGENT; by default, the one that the file is made for."
)
@click.option(
    "--token-with",
    "narrow",
    multiple=True,
    metavar="SCOPES=SOURCE",
    help="A token with only these scopes: a profile's, or env:VARIABLE. Two such tokens show the scopes of every route.",
)
@click.option("--exchange", is_flag=True, help="Exchange your token for narrower ones, if the workspace does that.")
@click.option("--expired", metavar="SOURCE", help="A token of yours that has expired: a profile, or env:VARIABLE.")
@click.option("--denied", multiple=True, metavar="KIND=NAME", help="Something that exists and that you may not use.")
@click.option("--use", multiple=True, metavar="KIND=NAME", help="A warehouse or an index that you may use.")
@click.option("--output", type=click.Path(dir_okay=False), help="Write the answers into this recording.")
@click.option("--resume", is_flag=True, help="Go on with the recording of --output: what it holds is not asked again.")
@click.option("--recording", "file", type=click.Path(dir_okay=False), help="Compare this recording, and ask nothing.")
@click.option(
    "--update",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Write what the --recording shows of scopes into this catalogue file (obo_kit_catalogue.yaml).",
)
@click.option(
    "--explain", is_flag=True, help="Show the answers of the --recording that explain() misreads, as an issue."
)
@click.option("--review", is_flag=True, help="Show all that the recording holds.")
@click.option("--dry-run", is_flag=True, help="Show each request of the list, and why it is safe. Nothing is sent.")
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), default=10.0, show_default=True, help="Requests a second."
)
@click.option("--budget", type=click.IntRange(1), default=400, show_default=True, help="Requests in all.")
@json_option
def verify(  # noqa: PLR0917
    agent: str | None,
    profile: str | None,
    host: str | None,
    target: Target | None,
    narrow: tuple[str, ...],
    exchange: bool,
    expired: str | None,
    denied: tuple[str, ...],
    use: tuple[str, ...],
    output: str | None,
    resume: bool,
    file: str | None,
    update: str | None,
    explain: bool,
    review: bool,
    dry_run: bool,
    rate: float,
    budget: int,
    in_json: bool,
) -> None:
    """Ask your workspace whether it is as the kit says, as the developer who is logged in.

    With an AGENT, it says whether the agent would work for you today: which of its resources exist, what you lack, and
    whether users' tokens reach it.

    Without one, it checks what the kit claims of the platform, scope by scope and refusal by refusal. Each request is on a
    list: it reads, or it is refused before it acts (--dry-run shows all). A recording (--output) holds no name, id or host.

    Ends with 0 if everything that it tried agrees, with 1 if something differs, and with 2 if you are not logged in.
    """
    _check_options(agent, file, output, resume=resume, review=review, dry_run=dry_run)
    _check_uses(file, update, explain=explain, review=review)
    with _usage(), _others_silent():
        named = _named(denied, use)
        if dry_run:
            _dry_run(named, in_json)
            return
        if file is not None:
            _use(_loaded(file), update, explain=explain, in_json=in_json, review=review)
            return
        if agent is not None:
            _agent(agent, target, lambda: _sign_in(profile, host), rate=rate, in_json=in_json)
            return
        with working("Signing in"):
            login, tokens, expired_token = _signed_in(profile, host, narrow, expired)
        # Read in any case: what is no recording is nothing to write over.
        earlier = _loaded(output) if output is not None and Path(output).exists() else None
    from obo_kit.analysis.verify._run import Options, Run

    run = Run(
        login=login,
        narrow=tokens,
        named=named,
        expired=expired_token,
        options=Options(rate=rate, budget=budget, exchange=exchange),
        before=earlier if resume else None,
    )
    with _usage(), _others_silent(), _interruptible():
        outcome = _asked(run, output)
        _show_claims(outcome.recording, outcome, in_json=in_json, review=review)


def _check_uses(file: str | None, update: str | None, *, explain: bool, review: bool) -> None:
    uses = [update is not None, explain]
    if any(uses) and (file is None or sum(uses) + review > 1):
        raise click.UsageError("--update and --explain each take a --recording, and none of --review and each other.")


def _use(recording: Recording, update: str | None, *, explain: bool, in_json: bool, review: bool) -> None:
    """Do with a recording what the options say: compare it, unless they say something else."""
    from obo_kit.cli._recording import check_explain, update_catalogue

    if update is not None:
        update_catalogue(recording, update, in_json=in_json)
    elif not explain:
        _show_claims(recording, None, in_json=in_json, review=review)
    elif not check_explain(recording, in_json=in_json):
        sys.exit(1)


def _check_options(
    agent: str | None, file: str | None, output: str | None, *, resume: bool, review: bool, dry_run: bool
) -> None:
    if resume and output is None:
        raise click.UsageError("--resume goes on with a recording: name it with --output.")
    if agent is not None and (output or file or review):
        raise click.UsageError("An AGENT leaves no recording: drop it, or drop --output, --recording and --review.")
    if file is not None and (output or dry_run):
        raise click.UsageError("--recording asks nothing: drop --output and --dry-run.")


class _NotLoggedInError(RefusedError):
    """Somebody is not logged in. The command ends with 2."""

    exit_code = 2


@contextlib.contextmanager
def _usage() -> Iterator[None]:
    """End with 2 where somebody is not logged in, and show the kit's other refusals without a traceback."""
    with refusals():
        try:
            yield
        except NoUserIdentityError as error:
            raise _NotLoggedInError(str(error)) from None


@contextlib.contextmanager
def _others_silent() -> Iterator[None]:
    """Keep the packages below from logging and warning: their lines hold the host, and answers as they came."""
    loggers = [logging.getLogger(name) for name in _OTHERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _named(denied: Sequence[str], use: Sequence[str]) -> Named:
    from obo_kit.analysis.verify._plan import Named

    return Named(denied=_pairs("--denied", denied), use=_pairs("--use", use))


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    from obo_kit.analysis.verify._refusals import REFUSAL_PROBES

    side = "denied" if option == "--denied" else "use"
    kinds = sorted({kind for each in REFUSAL_PROBES.values() if (kind := getattr(each, side))})
    pairs: dict[str, str] = {}
    for text in texts:
        kind, sign, name = text.partition("=")
        if not sign or not name or kind not in kinds:
            raise click.UsageError(f"{option} takes KIND=NAME, where KIND is one of {', '.join(kinds)}.")
        pairs[kind] = name
    return pairs


def _sign_in(profile: str | None, host: str | None) -> Login:
    from obo_kit.analysis.verify._login import sign_in

    return sign_in(profile=profile, host=host)


def _signed_in(profile: str | None, host: str | None, narrow: Sequence[str], expired: str | None) -> Any:
    from obo_kit.analysis.verify._login import expired_token, narrow_token

    login = _sign_in(profile, host)
    tokens = [narrow_token(text, login) for text in narrow]
    return login, tokens, expired_token(expired, login) if expired is not None else None


def _loaded(path: str) -> Recording:
    from obo_kit.scopes._recording import load

    return load(path)


# ---------------------------------------------------------------- asking


def _asked(run: Any, output: str | None) -> Outcome:
    from obo_kit.scopes._recording import dump

    kept_at = time.monotonic()

    def keep(*, now: bool = False) -> None:
        nonlocal kept_at
        if output is not None and (now or time.monotonic() - kept_at > _KEPT_EVERY) and run.recording.answers:
            dump(run.recording, output)
            kept_at = time.monotonic()

    try:
        with progress("Asking the workspace") as advance:
            run.keep, run.progress = keep, advance
            outcome: Outcome = run.run()
    finally:
        keep(now=True)
    return outcome


def kit_words() -> Kit | None:
    """Return what the kit says of refusals, which its local workspace knows; None where that is not installed."""
    from obo_kit._utils.extras import MissingExtraError
    from obo_kit.analysis.verify._compare import Expected, Kit
    from obo_kit.testing._packages import check_packages

    try:
        check_packages()
    except MissingExtraError:
        return None
    import obo_kit.testing.workspace  # noqa: F401  each service declares its own
    from obo_kit.testing._refusals import REFUSALS
    from obo_kit.testing.server._app import missing_scope_key
    from obo_kit.testing.server._scopes import asked_by

    def missing_scope(method: str, path: str, missing: tuple[str, ...]) -> str:
        asks = asked_by(method, path)
        return missing_scope_key(path, asks.words if asks is not None else "json", missing, "reported")

    return Kit(
        refusals={
            key: Expected(
                status=refusal.status,
                code=str(refusal.code),
                text=refusal.text,
                content_type=refusal.content_type or ("application/json" if refusal.form == "json" else "text/plain"),
                headers=frozenset(name.lower() for name in refusal.headers),
                standing=refusal.standing,
            )
            for key, refusal in REFUSALS.items()
        },
        missing_scope=missing_scope,
    )


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """End on SIGTERM as on Ctrl-C: with what was answered on disk."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before: Any = None
    with contextlib.suppress(ValueError):  # not the main thread: nobody can set it
        before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        raise RefusedError(
            "Interrupted. Fix: the same command with --resume goes on; without --output, begin again."
        ) from None
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


# ---------------------------------------------------------------- showing


def _dry_run(named: Named, in_json: bool) -> None:
    from obo_kit.analysis.verify._plan import listed
    from obo_kit.analysis.verify._probe import SAFE
    from obo_kit.analysis.verify._transport import TOKEN_PATH

    rows = [
        {"method": probe.method, "path": probe.target, "body": probe.body.decode(), "why": SAFE[probe.safe]}
        for probe in listed(named)
    ]
    login = "The SDK reads it to sign you in."
    rows += [
        {"method": "GET", "path": "/.well-known/databricks-config", "body": "", "why": login},
        {
            "method": "POST",
            "path": TOKEN_PATH,
            "body": "(your token)",
            "why": f"With --exchange only. {SAFE['narrows']}",
        },
    ]
    if in_json:
        print_json(rows)
        return
    for why in dict.fromkeys(row["why"] for row in rows):
        click.echo(click.style(why, bold=True))
        for row in (row for row in rows if row["why"] == why):
            click.echo(f"  {row['method']:<4} {row['path']}" + (f"  {row['body']}" if row["body"] else ""))
        click.echo()
    click.echo(f"{len(rows)} requests, with any token that you name. Nothing was sent.")


def _show_claims(recording: Recording, outcome: Outcome | None, *, in_json: bool, review: bool) -> None:
    """Compare a recording with what the kit says, and show it. ``outcome``: what was asked for it just now."""
    from obo_kit.analysis.verify._compare import compare

    results = compare(recording, kit_words(), outcome.failed if outcome is not None else None)
    counts = Counter(result.status for result in results)
    stopped = outcome.stopped if outcome is not None else ""
    if in_json:
        print_json(_as_json(recording, results, outcome, review=review))
    else:
        if review:
            _show_review(recording)
        _show_results(recording, results)
        sent = f"{outcome.sent} requests. " if outcome is not None else ""
        click.echo(f"{sent}{counts['agrees']} agree, {counts['differs']} differ, {counts['not_tried']} not tried.")
    if stopped:
        raise RefusedError(stopped)
    sys.exit(1 if counts["differs"] or not recording.complete else 0)


def _as_json(
    recording: Recording, results: Sequence[Result], outcome: Outcome | None, *, review: bool
) -> dict[str, Any]:
    value: dict[str, Any] = {
        "recorded": recording.recorded,
        "cloud": recording.cloud,
        "release": recording.release.model_dump(mode="json") if recording.release is not None else None,
        "asked_as": recording.asked_as,
        "obo": recording.obo,
        "obo_model_serving": recording.obo_model_serving,
        "complete": recording.complete,
        "requests": outcome.sent if outcome is not None else 0,
        "claims": [dataclasses.asdict(result) for result in results],
    }
    return value | ({"recording": recording.model_dump(mode="json", by_alias=True)} if review else {})


_WHOSE = {
    "user": "These are the answers to you.",
    "service_principal": "These are the answers to a service principal, which is how you are logged in. A user may get others.",
    "unknown": "These are the answers to whoever is logged in: the workspace does not say who that is.",
}


def _show_results(recording: Recording, results: Sequence[Result]) -> None:
    release = f"; it {recording.release}" if recording.release is not None else ""
    click.echo(f"Recorded on {recording.recorded}, cloud: {recording.cloud}{release}.")
    click.echo(textwrap.fill(_WHOSE[recording.asked_as], text_width()))
    known = {"route": "Routes and their scopes", "refusal": "Refusals", "obo": "On-behalf-of-user authorization"}
    for kind, title in known.items():
        of_kind = [result for result in results if result.claim.startswith(f"{kind}:")]
        click.echo("\n" + click.style(title, bold=True))
        for group in _alike(of_kind):
            _show_group(group)
    click.echo()


def _alike(results: Sequence[Result]) -> list[list[Result]]:
    """Return the results in groups of which the same is to be said: what differs first, what was not tried last."""
    groups: dict[Any, list[Result]] = {}
    for status in ("differs", "agrees", "not_tried"):
        for result in (each for each in results if each.status == status):
            groups.setdefault((status, result.differences, result.why if status == "not_tried" else ""), []).append(
                result
            )
    return list(groups.values())


def _show_group(group: Sequence[Result]) -> None:
    first = group[0]
    mark = click.style(f"{first.status.replace('_', ' '):<9}", fg=_SHADES[first.status])
    names = textwrap.wrap(
        ", ".join(result.claim.partition(":")[2] for result in group), text_width() - 12, break_long_words=False
    )
    click.echo(f"  {mark} " + ("\n" + " " * 12).join(names))
    for difference in first.differences:
        for who, what in (("the kit says", difference.kit), ("the workspace says", difference.workspace)):
            _show_indented(f"{difference.aspect}: {who}: {what}")
    if first.status == "not_tried":
        _show_indented(first.why)


def _show_indented(text: str) -> None:
    click.echo(
        textwrap.fill(text, text_width(), initial_indent=" " * 12, subsequent_indent=" " * 14, break_long_words=False)
    )


def _show_review(recording: Recording) -> None:
    """Show all of a recording: what is not here is not in it."""
    whole = recording.model_dump(mode="json", by_alias=True)
    for key, value in whole.items():
        if key != "answers":
            click.echo(f"{key}: {value}")
    for answer in whole["answers"]:
        click.echo()
        for key, value in answer.items():
            if value not in (None, "", [], ()):
                click.echo(f"  {key}: {', '.join(map(str, value)) if isinstance(value, list) else value}")
    click.echo()


def _agent(agent: str, target: Target | None, sign_in: Callable[[], Login], *, rate: float, in_json: bool) -> None:
    from obo_kit.analysis.verify._agent import verify_agent

    with working(f"Asking for what {agent} declares"):
        report = verify_agent(agent, sign_in, target=target, rate=rate)
    if in_json:
        print_json(dataclasses.asdict(report) | {"ok": report.ok})
    else:
        _show_agent(report)
    sys.exit(0 if report.ok else 1)


def _show_agent(report: Report) -> None:
    click.echo(textwrap.fill(_WHOSE[report.asked_as], text_width()))
    rows = [("TOOL", "RESOURCE", "IS", "WHAT TO DO")]
    for need in report.needs:
        rows.append((need.tool, need.resource, need.state.replace("_", " "), need.remedy or "-"))
    click.echo("\n".join(fitted(rows)) if len(rows) > 1 else "It declares no resource.")
    click.echo()
    for scope in report.scopes:
        click.echo(f"scope {scope.name}: {scope.state}{f'. {scope.why}' if scope.why else ''}")
    click.echo(textwrap.fill(f"on-behalf-of-user authorization: {report.obo}. {report.obo_why}", text_width()))
    click.echo("It would work for you today." if report.ok else "It would not work for you today; see above.")
