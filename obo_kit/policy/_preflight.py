"""Check, before the first user comes, that a deployment gives the agent what its tools declare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from obo_kit._utils.default import NONE
from obo_kit.context._frame import open_session
from obo_kit.exceptions import NoUserIdentityError, OboError
from obo_kit.identity._runtime import in_apps, in_model_serving
from obo_kit.identity._sources import capture
from obo_kit.identity._user import UserIdentity
from obo_kit.scopes._lookup import TARGETS, Verdict, verdict
from obo_kit.session._session import UserSession

if TYPE_CHECKING:
    from mlflow.models.auth_policy import AuthPolicy

    from obo_kit.policy._policy import Source
    from obo_kit.scopes._lookup import Target

__all__ = ["Preflight", "preflight"]

Runtime = Literal["model-serving", "apps", "elsewhere"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Preflight:
    """The result of `preflight`. It is true if nothing is wrong; ``str()`` of it is a report to read. Holds no token.

    Attributes:
        runtime: Where this runs: ``"model-serving"``, ``"apps"`` or ``"elsewhere"``.
        made_for: The target that the policy was made for; `None` if it fits any runtime.
        user: Whether there is a user to act for: true; false (a request without a user: on-behalf-of-user authorization is
            off); or `None` (outside a request, where nobody can tell).
        scopes: Each declared scope, and whether the user's token carries it: granted, missing or unknown.
        problems: Each problem with its fix; empty if there is none.
    """

    runtime: Runtime
    made_for: Target | None
    user: bool | None
    scopes: Mapping[str, Verdict] = NONE
    problems: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Return the result as plain values, ready for the JSON of a health check."""
        return {
            "ok": bool(self),
            "runtime": self.runtime,
            "made_for": self.made_for,
            "user": self.user,
            "scopes": {scope: answer.value for scope, answer in self.scopes.items()},
            "problems": list(self.problems),
        }

    def __str__(self) -> str:
        user = {True: "there is one", False: "none in this request", None: "unknown outside a request"}[self.user]
        lines = [
            f"obo_kit preflight: {'ok' if self else 'not ok'}",
            f"  runtime   {self.runtime}{f', policy made for {self.made_for}' if self.made_for else ''}",
            f"  user      {user}",
            *(f"  scope     {scope}: {answer.value}" for scope, answer in self.scopes.items()),
            *(f"  problem   {problem}" for problem in self.problems),
        ]
        return "\n".join(lines)


def preflight(agent_or_policy: Source | AuthPolicy | Mapping[str, Any] = None, /) -> Preflight:
    """Check a deployment, at start-up or in a request, and report everything that is wrong at once. Sends nothing.

    At start-up there is no user, so the scopes are unknown. In a request, they are compared with the user's token. A health
    check may return ``preflight().as_dict()``.

    Args:
        agent_or_policy: The MLflow ``AuthPolicy``, the dict of `app_config`, or a source as for `auth_policy`: an agent file,
            a module, tools, or nothing for everything that this process has registered.

    Raises:
        PolicyError: The source cannot be collected.
    """
    runtime: Runtime = "model-serving" if in_model_serving() else "apps" if in_apps() else "elsewhere"
    problems: list[str] = []
    made_for, declared = _declared(agent_or_policy, runtime, problems)
    if made_for is not None and runtime not in ("elsewhere", made_for):
        problems.append(
            f"The policy was made for {made_for}, but this is {runtime}, which has other names for scopes. Collect it with "
            + ("obo_kit.app_config." if runtime == "apps" else "obo_kit.auth_policy.")
        )
    identity, user = _user(runtime, problems)
    token_scopes = identity.scopes if identity is not None else None
    verdicts = {scope: verdict(token_scopes, scope) for scope in declared}
    missing = [scope for scope, answer in verdicts.items() if answer is Verdict.MISSING]
    if missing:
        where = (
            "Add them to the app's user_api_scopes, stop and start the app, and let users consent again."
            if runtime == "apps"
            else "Log the model again with obo_kit.log_model, and deploy the new version."
        )
        problems.append(f"The user's token does not carry {', '.join(missing)}. {where}")
    return Preflight(
        runtime=runtime, made_for=made_for, user=user, scopes=MappingProxyType(verdicts), problems=tuple(problems)
    )


def _declared(source: Any, runtime: Runtime, problems: list[str]) -> tuple[Target | None, tuple[str, ...]]:
    """Return the target that the policy was made for, and its scopes."""
    if isinstance(source, Mapping):
        return "apps", tuple(source.get("user_api_scopes") or ())
    if hasattr(source, "user_auth_policy"):
        policy = source.user_auth_policy
        return "model-serving", tuple(sorted(policy.api_scopes)) if policy is not None else ()
    from obo_kit.policy._policy import scopes_for

    target: Target = "apps" if runtime == "apps" else TARGETS[0]
    scopes, refused = scopes_for(source, target)
    if refused is not None:
        problems.append(f"{refused.message} {refused.remedy}")
    return None, scopes


def _user(runtime: Runtime, problems: list[str]) -> tuple[UserIdentity | None, bool | None]:
    session = open_session(UserSession)
    try:
        identity = session.identity if session is not None else capture()
    except NoUserIdentityError as error:
        if session is None:
            return None, None
        problems.append(f"{error.message} {_SWITCHED_ON.get(runtime, error.remedy)}")
        return None, False
    except OboError as error:
        problems.append(f"{error.message} {error.remedy}")
        return None, None
    return identity, True


_SWITCHED_ON: Mapping[str, str] = {
    "model-serving": "Log the model with a user policy (obo_kit.log_model), and have an administrator enable "
    "on-behalf-of-user authorization for agents in this workspace.",
    "apps": "Give the app user_api_scopes, and have an administrator enable user authorization for apps in this workspace.",
}
