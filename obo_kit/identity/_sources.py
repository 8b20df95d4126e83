"""Capture the user of a request from the runtime (rules 1 and 2).

Each source answers for one runtime. It returns the runtime's user, returns `None` if the runtime is not present, and raises
`NoUserIdentityError` if the runtime is present but the user is not. No source ever falls back to a service principal.
"""

from __future__ import annotations

import logging
import os
import sys
import uuid
from types import SimpleNamespace
from typing import Any, Protocol, runtime_checkable

from obo_kit.exceptions import NoUserIdentityError
from obo_kit.identity._headers import forked_inside_a_request, from_headers, names_a_user, request_headers
from obo_kit.identity._process import PROCESS, note_user_named, user_was_named
from obo_kit.identity._runtime import (
    DeveloperKind,
    deployed_in,
    developer_asked_for,
    in_apps,
    in_model_serving,
    serves_on_a_cluster,
    somebody_is_there,
)
from obo_kit.identity._token import Hidden, claims_of, remedy_for
from obo_kit.identity._user import Developer, UserIdentity, from_hidden, give, of_process_token

__all__ = ["IdentitySource", "register_identity_source"]

logger = logging.getLogger(__name__)


@runtime_checkable
class IdentitySource(Protocol):
    """A runtime that knows its user."""

    name: str

    def capture(self) -> UserIdentity | None:
        """Return the user of the request being served; `None` if this runtime is not present.

        Raises:
            NoUserIdentityError: The runtime is present but the user is not.
        """
        ...


class _ModelServing:
    name = "model-serving"

    def capture(self) -> UserIdentity | None:
        if not in_model_serving():
            return None
        from databricks_ai_bridge import ModelServingUserCredentials

        strategy = ModelServingUserCredentials()
        # The class reads the platform's variable in lower case only. In any other case it silently returns the ambient
        # identity, which in an app is the app's service principal.
        if strategy.auth_type() != "model_serving_user_credentials":
            raise NoUserIdentityError(
                "This is Model Serving, but its official credentials class does not recognize it.",
                remedy="Leave IS_IN_DB_MODEL_SERVING_ENV as the platform sets it: true, in lower case.",
            )
        seen: Any = SimpleNamespace(host=None)
        try:
            token = Hidden(strategy(seen)()["Authorization"].removeprefix("Bearer "))
        except Exception as error:
            raise NoUserIdentityError(
                f"Model Serving has no user token for this request ({type(error).__name__}).",
                remedy=remedy_for(self.name),
            ) from None
        identity = from_hidden(
            host=seen.host or os.environ.get("DATABRICKS_HOST", ""), token=token, source=self.name, verified=True
        )
        # Without this module, the class reads one slot that all requests of the process share (rule 4).
        shared = "mlflowserving.scoring_server.agent_utils" not in sys.modules
        return of_process_token(identity) if shared else identity


class _Request:
    """The request that the kit's middleware or MLflow's agent server serves, on Databricks Apps or elsewhere (rule 1)."""

    name = "apps"

    def capture(self) -> UserIdentity | None:
        headers = request_headers()
        if headers is None and not in_apps():
            return None
        if headers is not None and (headers.value is None or forked_inside_a_request.get()):
            raise NoUserIdentityError(
                "This work was started by a request that has ended or that another process serves: there is no user here.",
                remedy="Open the session while the request runs. Background work has no user: pass it the data that it "
                "needs, or let it act with system authorization.",
            )
        if headers is None or not headers.value:
            raise NoUserIdentityError(
                "This is a Databricks App, and the headers of the request are not available here.",
                remedy="Serve the agent with MLflow's agent server or obo_kit.integrations.asgi, or open the session with "
                "user_session(headers=…). Background work and the resumed run of a durable server have no user.",
            )
        return from_headers(headers)


_REQUEST = _Request()
_BUILT_IN: tuple[IdentitySource, ...] = (_ModelServing(), _REQUEST)
_registered: list[IdentitySource] = []


def register_identity_source(source: IdentitySource) -> None:
    """Add a source for a runtime that the kit does not know. It is asked before the built-in ones, in the whole process.

    Raises:
        TypeError: The source has no ``name`` or no ``capture()``.
    """
    if not isinstance(source, IdentitySource) or not callable(source.capture) or not isinstance(source.name, str):
        raise TypeError("an identity source is an object with `name` and `capture() -> UserIdentity | None`")
    _registered.append(source)


def capture(developer: DeveloperKind | None = None) -> UserIdentity:
    """Return the user of the request being served, from the runtime (rule 1).

    Args:
        developer: Whose default credentials to act with when there is no user. By default, those that
            ``OBO_KIT_DEVELOPER`` selects; else a person's, if no user was ever named in this process.

    Raises:
        NoUserIdentityError: A runtime is present and has no user; or no runtime is present, and this process serves users.
    """
    headers = request_headers()
    named = headers is not None and bool(headers.value) and names_a_user(headers)
    for source in (*_registered, *((_REQUEST,) if named else _BUILT_IN)):
        if source is _REQUEST and not named and _as_developer(developer):
            continue
        identity = source.capture()
        if identity is None:
            continue
        if not isinstance(identity, UserIdentity):
            raise NoUserIdentityError(
                f"The identity source {source.name!r} returned a {type(identity).__name__}.",
                remedy="Return UserIdentity.from_token(host=…, token=…), or None if its runtime is not present.",
            )
        note_user_named()
        return identity
    return developer_identity(developer)


def _as_developer(developer: DeveloperKind | None) -> bool:
    """Return whether the developer asked to act as themselves in a request without a user, and this is not a deployment."""
    return (developer or developer_asked_for()) is not None and deployed_in() is None


def in_place_of_a_user(headers: Hidden, developer: DeveloperKind | None) -> UserIdentity | None:
    """Return the developer if a request without a user belongs to them (`OBO_KIT_DEVELOPER`); else `None`."""
    if not (developer or developer_asked_for()) or names_a_user(headers):
        return None
    return developer_identity(developer)


def developer_identity(developer: DeveloperKind | None = None) -> UserIdentity:
    """Return the developer who runs this process. Their credentials are looked up on first use.

    Raises:
        NoUserIdentityError: This process serves users, or is deployed.
    """
    developer = developer or developer_asked_for()
    if developer is None and user_was_named():
        raise NoUserIdentityError(
            "No user is known here, and this process acts only for users who were named.",
            remedy="Open the session with the user of this request: user_session(headers=…), or open it where the request is "
            "available. Carry an open session into a thread with obo_kit.propagate(fn). On a laptop, set "
            "OBO_KIT_DEVELOPER=person to act as yourself in requests without a user.",
        )
    where = deployed_in() if developer == "person" else None
    if where is None and developer is None and serves_on_a_cluster():
        where = "a cluster that serves requests"
    if where is not None:
        raise NoUserIdentityError(
            f"There is no user here, and no developer stands in for one: this is {where}, not a laptop.",
            remedy="Send the user's token with each request (X-Forwarded-Access-Token), and unset OBO_KIT_DEVELOPER.",
        )
    if not PROCESS.developer_said:
        PROCESS.developer_said = True
        machine = developer == "machine"
        logger.log(
            logging.INFO if somebody_is_there() and not machine else logging.WARNING,
            "No user is known here: acting with %s default credentials%s.",
            "this machine's own" if machine else "the developer's own",
            " (OBO_KIT_DEVELOPER)" if developer else "",
        )
    identity = UserIdentity(principal=None, host="", source="developer", scopes=None, expires_at=None)
    return give(identity, Developer(_look_up_machine if developer == "machine" else _look_up_person))


# The SDK's strategies that log in a person (databricks-sdk 0.30 to 0.156). All others log in a machine.
_PERSONS = frozenset({"azure-cli", "basic", "databricks-cli", "external-browser", "metadata-service", "pat", "runtime"})


def _look_up_person() -> UserIdentity:
    return _look_up(machine=False)


def _look_up_machine() -> UserIdentity:
    return _look_up(machine=True)


def _look_up(*, machine: bool) -> UserIdentity:
    from databricks.sdk.core import Config

    try:
        # Limits of our own: by default the SDK waits five minutes for a host that does not answer.
        config = Config(retry_timeout_seconds=1, http_timeout_seconds=5)
        kind = config.auth_type
    except Exception as error:
        raise _no_credentials(error) from None
    if not machine and kind not in _PERSONS:
        raise _a_machine(f"they are of the kind {kind!r}")
    try:
        header = Hidden(config.authenticate().get("Authorization", ""))
    except Exception as error:
        raise _no_credentials(error) from None
    token = Hidden(header.value[7:] if header.value[:7].lower() == "bearer " else "")
    identity = from_hidden(host=config.host, token=token, source="developer")
    if not machine and _is_a_machine_s(token):
        raise _a_machine("their token says so")
    return identity


def _no_credentials(error: Exception) -> NoUserIdentityError:
    return NoUserIdentityError(
        f"The developer has no usable Databricks credentials ({type(error).__name__}).",
        remedy=remedy_for("developer"),
    )


def _a_machine(why: str) -> NoUserIdentityError:
    return NoUserIdentityError(
        f"The default credentials here are a machine's, not a person's ({why}), and no machine acts in a user's place.",
        remedy="Open the session with the user who asks: user_session(headers=…) or user_session(host=…, token=…). To let "
        "a CI runner act as its service principal, set OBO_KIT_DEVELOPER=machine.",
    )


def _is_a_machine_s(token: Hidden) -> bool:
    """Return whether a token says that it belongs to an application. A personal access token does not say."""
    claims = claims_of(token)
    if claims.get("idtyp") == "app":  # Microsoft Entra
        return True
    subject = claims.get("sub")
    try:
        # A service principal's name is its application id; a person's is an e-mail address. Entra's subjects are neither.
        return isinstance(subject, str) and str(uuid.UUID(subject)) == subject.lower()
    except ValueError:
        return False
