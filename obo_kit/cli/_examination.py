"""The examination of ``obo-kit doctor``. Nothing here sends anything, and no value of a secret variable is read out."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from obo_kit._utils.version import __version__
from obo_kit.exceptions import OboError, PolicyError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from obo_kit.scopes._lookup import Target

__all__ = ["Finding", "deployment", "file", "machine"]

_PYTHONS: Final = ((3, 10), (3, 13))
# The kit's variables: their values, empty for any, and a remark on some of them.
_VARIABLES: Final = {
    "OBO_KIT_APPS": (),
    "OBO_KIT_CATALOGUE": (),
    "OBO_KIT_COLLECT_SECONDS": (),
    "OBO_KIT_DEVELOPER": ("machine",),
    "OBO_KIT_PROCESS_TOKEN": ("refuse",),
    "OBO_KIT_RESUME": ("refuse",),
    "OBO_KIT_SCOPE_GUARD": ("raise", "warn", "off"),
}
_CAREFUL: Final = {
    ("OBO_KIT_DEVELOPER", "machine"): "A machine's credentials may stand for the developer: meant for CI runners.",
    ("OBO_KIT_SCOPE_GUARD", "off"): "Nothing stops a tool that leaves the scopes it declares.",
}
_IDENTITY: Final = ("DATABRICKS_", "ARM_")


@dataclass(frozen=True)
class Finding:
    """One thing that was examined.

    Attributes:
        level: ``"problem"`` has to be fixed; a ``"note"`` may be intended.
        what: What there is.
        fix: What to do about it; empty if there is nothing to do.
    """

    level: Literal["ok", "note", "problem"]
    what: str
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return it as plain values."""
        return dataclasses.asdict(self)


# ---------------------------------------------------------------- this machine


def machine() -> list[Finding]:
    """Examine Python, the packages and the variables."""
    return [_python(), *_packages(), *_variables()]


def _python() -> Finding:
    what = f"Python {'.'.join(map(str, sys.version_info[:3]))}, obo-kit {__version__}."
    if _PYTHONS[0] <= sys.version_info[:2] <= _PYTHONS[1]:
        return Finding("ok", what)
    return Finding("note", what, "Use Python 3.10 to 3.13: others are not tested.")


def _packages() -> Iterator[Finding]:
    from packaging.requirements import Requirement

    extras: dict[str, list[Requirement]] = {}
    for text in importlib.metadata.requires("obo-kit") or ():
        requirement = Requirement(text)
        names = importlib.metadata.metadata("obo-kit").get_all("Provides-Extra") or []
        extra = next((name for name in names if _is_of(requirement, name)), "")
        extras.setdefault(extra, []).append(requirement)
    for extra, requirements in sorted(extras.items()):
        yield from _extra(extra, requirements)


def _is_of(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def _extra(extra: str, requirements: list[Requirement]) -> Iterator[Finding]:
    """Yield what is wrong with the packages of an extra, or that nothing is. The empty extra stands for what the kit needs."""
    name = f"obo-kit[{extra}]" if extra else "obo-kit"
    fix = f'pip install "{name}"'
    versions = {requirement.name: _version(requirement.name) for requirement in requirements}
    missing = ", ".join(package for package, version in versions.items() if version is None)
    unfit = dict(_unfit(requirements, versions))
    if missing and extra:
        brought = f"{missing}, and replace {', '.join(unfit)}" if unfit else missing
        yield Finding("note", f"{name} is not installed; it would bring {brought}.", f"{fix}, if you need it.")
        return
    if missing:
        yield Finding("problem", f"The kit lacks {missing}.", fix)
    for package, needed in unfit.items():
        yield Finding("problem", f"{name} is installed with {package}, but needs {needed}.", fix)
    if not missing and not unfit:
        yield Finding("ok", f"{name}: {', '.join(f'{package} {version}' for package, version in versions.items())}.")


def _unfit(requirements: list[Requirement], versions: dict[str, str | None]) -> Iterator[tuple[str, str]]:
    """Yield the packages whose versions are outside the required range, each with the range."""
    for requirement in requirements:
        version = versions[requirement.name]
        if version is not None and not requirement.specifier.contains(version, prereleases=True):
            yield f"{requirement.name} {version}", str(requirement.specifier)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _variables() -> Iterator[Finding]:
    for name in sorted(name for name in os.environ if name.startswith("OBO_KIT_")):
        value = os.environ[name]
        if name not in _VARIABLES:
            yield Finding("problem", f"{name} is no variable of the kit's.", f"Correct it: {', '.join(_VARIABLES)}.")
        elif _VARIABLES[name] and value.strip().lower() not in _VARIABLES[name]:
            yield Finding(
                "problem", f"{name} is '{value}'.", f"Set it to {' or '.join(_VARIABLES[name])}, or unset it."
            )
        elif careful := _CAREFUL.get((name, value)):
            yield Finding("note", f"{name}={value}: {careful}", f"Unset {name}, unless you mean it.")
        else:
            yield Finding("ok", f"{name}={value}.")
    named = sorted(name for name in os.environ if name.startswith(_IDENTITY))
    config = Path(os.environ.get("DATABRICKS_CONFIG_FILE") or "~/.databrickscfg").expanduser()
    where = [*named, *([str(config)] if config.is_file() else [])]
    yield Finding(
        "ok", f"Credentials may come from {', '.join(where)}." if where else "No Databricks credentials here."
    )


# ---------------------------------------------------------------- this deployment


def deployment(agent: str | None, target: Target | None) -> list[Finding]:
    """Examine where this runs, as `preflight` does, and the bundle beside the agent."""
    from obo_kit.policy._dry_run import silent_dry_run
    from obo_kit.policy._policy import config_of
    from obo_kit.policy._preflight import preflight

    app = False
    source: Any = []
    try:
        if agent is not None:
            app = _place(agent, target)[0] == "apps"
            source = config_of(agent, "current") if app else agent
        with silent_dry_run():  # the person who runs this stands for the user, and knows it
            report = preflight(source)
    except PolicyError:
        return [Finding("note", "Nothing can be said about it before the file is fixed; see below.")]
    where = {"model-serving": "Model Serving", "apps": "Databricks Apps"}.get(
        report.runtime, "neither Model Serving nor Apps"
    )
    elsewhere = report.runtime == "elsewhere"
    user = {
        True: "you stand for the user" if elsewhere else "there is a user",
        False: "this request has no user",
        None: "outside a request",
    }[report.user]
    findings = [Finding("ok", f"This runs in {where}; {user}.")]
    findings += [Finding("problem", problem) for problem in report.problems]
    return [*findings, *(_bundle(agent, source) if app and agent is not None else ())]


def _place(agent: str, target: Target | None) -> tuple[str, str]:
    """Return where an agent is meant to run, and the reason."""
    from obo_kit.policy._agent_file import collect

    if target is not None:
        return target, "you say so"
    return collect(agent).target or ("model-serving", "nothing in it says where it runs")


def _bundle(agent: str, config: dict[str, Any]) -> Iterator[Finding]:
    """Compare the ``databricks.yml`` of an app with what its agent declares."""
    from obo_kit._utils.extras import MissingExtraError
    from obo_kit.policy._bundle import updated
    from obo_kit.policy._layout import locate

    bundles = (folder / "databricks.yml" for folder in Path(locate(agent)).resolve().parents)
    path = next((bundle for bundle in bundles if bundle.is_file()), None)
    if path is None:
        return
    name = os.path.relpath(path)
    try:
        update = updated(path, config)
    except MissingExtraError as error:
        yield Finding("note", f"{name} cannot be compared.", str(error))
    except OboError as error:
        yield Finding("problem", f"{name}: {error.message}", error.remedy)
    else:
        if update.changed:
            fix = f"obo-kit policy {agent} --update {name}"
            yield Finding("problem", f"{name} has drifted from what the agent declares.", fix)
        else:
            yield Finding("ok", f"{name} holds what the agent declares.")


# ---------------------------------------------------------------- this file


def file(agent: str, target: Target | None) -> list[Finding]:
    """Examine what the file declares, what would be refused, and what the check finds."""
    from obo_kit.policy._agent_file import collect

    try:
        collected = collect(agent)
    except PolicyError as error:
        return [Finding("problem", error.message, error.remedy)]
    place, why = (
        (target, "you say so") if target else collected.target or ("model-serving", "nothing in it says where it runs")
    )
    findings = [Finding("ok", f"'{agent}' is for {place}, as {why}.")]
    findings += [Finding("note", f"Not counted: {what}.", advice) for what, advice in collected.uncounted]
    findings += _declared(agent, place, collected)
    return [*findings, *_checked(agent)]


def _declared(agent: str, target: Any, collected: Any) -> Iterator[Finding]:
    from obo_kit.policy._log_checks import check_helpers, check_model
    from obo_kit.policy._report import picture_of

    try:
        picture = picture_of(agent, target=target)
        if target == "model-serving":
            check_model(collected, agent)
            check_helpers(collected, agent, {})
    except PolicyError as error:
        yield Finding("problem", error.message, error.remedy)
        return
    verb = "The next log_model would declare" if target == "model-serving" else "Its app needs"
    scopes = ", ".join(picture.scopes) or "no scope"
    system = ", ".join(entry.resource for entry in picture.system) or "nothing"
    yield Finding("ok", f"{verb} as the user: {scopes}; as the agent itself: {system}.")
    if not picture.scopes and not picture.system:
        yield Finding("note", "It declares nothing.", "Put @requires_scopes(…) on the tools that act as the user.")


def _checked(agent: str) -> Iterator[Finding]:
    from obo_kit.analysis.check import _runner
    from obo_kit.policy._layout import locate

    report = _runner.check([Path(locate(agent))])
    for finding in report.findings:
        place = f"{finding.path}:{finding.line}"
        yield Finding("problem", f"{place}: {finding.code} {finding.message}", f"See obo-kit check {finding.path}.")
    for path, why in report.unreadable:
        yield Finding("problem", f"{path}: {why}")
    if not report.findings and not report.unreadable:
        yield Finding("ok", "obo-kit check finds nothing.")
