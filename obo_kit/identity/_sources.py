"""The sources a user is captured from (rules 1 and 2).

A source answers for one runtime: its user, `None` where the runtime is not present, or `NoUserIdentityError` where it is
present and the user is not. Nothing here ever falls back to a service principal.
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
from obo_kit.identity._process import PROCESS
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
        """The user of the request being served; `None` where this runtime is not present.

        Raises:
            NoUserIdentityError: The runtime is present and the user is not.
        """
        ...


class _ModelServing:
    name = "model-serving"

    def capture(self) -> UserIdentity | None:
        if not in_model_serving():
            return None
        from databricks_ai_bridge import ModelServingUserCredentials

        strategy = ModelServingUserCredentials()
        # The class takes the platform's variable in lower case only; in any other case it would quietly hand out the
        # ambient identity, which in an app is its service principal.
        if strategy.auth_type() != "model_serving_user_credentials":
            raise NoUserIdentityError(
                "This is Model Serving, but its official credentials class does not recognise it.",
                remedy="Leave IS_IN_DB_MODEL_SERVING_ENV as the platform sets it: the word true, in lower case.",
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
        # Where this module is absent, the class reads one slot that all requests of the process share (rule 4).
        shared = "mlflowserving.scoring_server.agent_utils" not in sys.modules
        return of_process_token(identity) if shared else identity


class _Request:
    """The request that the kit's middleware or MLflow's agent server serves, on Databricks Apps or anywhere (rule 1)."""

    name = "apps"

    def capture(self) -> UserIdentity | None:
        headers = request_headers()
        if headers is None and not in_apps():
            return None
        if headers is not None and (headers.value is None or forked_inside_a_request.get()):
            raise NoUserIdentityError(
                "The request that this work was started in has ended, or is another process's: there is no user here.",
                remedy="Open the session while the request runs. Background work has no user: give it what it needs, or "
                "let it act with system authorization.",
            )
        if headers is None or not headers.value:
            raise NoUserIdentityError(
                "This is a Databricks App, and no request's headers are known here.",
                remedy="Serve with MLflow's agent server or obo_kit.integrations.asgi, or open the session with "
                "user_session(headers=…). Background work, and a durable server's resumed run, have no user.",
            )
        return from_headers(headers)


_REQUEST = _Request()
_BUILT_IN: tuple[IdentitySource, ...] = (_ModelServing(), _REQUEST)
_registered: list[IdentitySource] = []


def register_identity_source(source: IdentitySource) -> None:
    """Add a source for a runtime the kit does not know. It is asked before the built-in ones, for the whole process.

    Raises:
        TypeError: It has no ``name`` or no ``capture()``.
    """
    if not isinstance(source, IdentitySource) or not callable(source.capture) or not isinstance(source.name, str):
        raise TypeError("an identity source is an object with `name` and `capture() -> UserIdentity | None`")
    _registered.append(source)


def capture(developer: DeveloperKind | None = None) -> UserIdentity:
    """Return the user of the request being served, from the runtime (rule 1).

    Args:
        developer: Whose default credentials to act with where there is no user; by default those that
            ``OBO_KIT_DEVELOPER`` asks for, or a person's where no user was ever named in this process.

    Raises:
        NoUserIdentityError: A runtime is present and has no user; or none is present, and this process serves users.
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
                remedy="Return UserIdentity.from_token(host=…, token=…), or None where its runtime is not present.",
            )
        PROCESS.user_named = True
        return identity
    return developer_identity(developer)


def _as_developer(asked: DeveloperKind | None) -> bool:
    """Is a request without a user the developer's own, as on a laptop somebody asked for it?"""
    return (asked or developer_asked_for()) is not None and deployed_in() is None


def in_place_of_a_user(headers: Hidden, asked: DeveloperKind | None) -> UserIdentity | None:
    """Return the developer, where a request that names nobody is theirs (`OBO_KIT_DEVELOPER`); `None` where it is not."""
    if not (asked or developer_asked_for()) or names_a_user(headers):
        return None
    return developer_identity(asked)


def developer_identity(asked: DeveloperKind | None = None) -> UserIdentity:
    """Return whoever runs this process, looked up on first use.

    Raises:
        NoUserIdentityError: This process serves users, or is deployed.
    """
    asked = asked or developer_asked_for()
    if asked is None and PROCESS.user_named:
        raise NoUserIdentityError(
            "No user is known here, and this process acts for users who were named: it does not act as anybody else.",
            remedy="Open the session with the user of this request: user_session(headers=…), or where the request is seen. "
            "Carry an open one into a thread with obo_kit.propagate(fn). On a laptop, OBO_KIT_DEVELOPER=person lets "
            "requests without a user act as yourself.",
        )
    where = deployed_in() if asked == "person" else None
    if where is None and asked is None and serves_on_a_cluster():
        where = "a cluster that serves requests"
    if where is not None:
        raise NoUserIdentityError(
            f"This is {where}, and nobody's laptop: there is no user here, and no developer stands in for one.",
            remedy="Send the user's token with each request (X-Forwarded-Access-Token), and unset OBO_KIT_DEVELOPER.",
        )
    if not PROCESS.developer_said:
        PROCESS.developer_said = True
        machine = asked == "machine"
        logger.log(
            logging.INFO if somebody_is_there() and not machine else logging.WARNING,
            "No user is known here: acting with %s default credentials%s.",
            "this machine's own" if machine else "the developer's own",
            " (OBO_KIT_DEVELOPER)" if asked else "",
        )
    identity = UserIdentity(principal=None, host="", source="developer", scopes=None, expires_at=None)
    return give(identity, Developer(_look_up_machine if asked == "machine" else _look_up_person))


# How the SDK logs in a person, by the names of its strategies (databricks-sdk 0.30 to 0.156). All others are a machine's.
_PERSONS = frozenset({"azure-cli", "basic", "databricks-cli", "external-browser", "metadata-service", "pat", "runtime"})


def _look_up_person() -> UserIdentity:
    return _look_up(machine=False)


def _look_up_machine() -> UserIdentity:
    return _look_up(machine=True)


def _look_up(*, machine: bool) -> UserIdentity:
    from databricks.sdk.core import Config

    try:
        # Limits of its own: the default budget for a host that does not answer is five minutes.
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
        f"The default credentials here are a machine's, not a person's ({why}): no machine acts in a user's place.",
        remedy="Open the session with the user who asks: user_session(headers=…) or user_session(host=…, token=…). A CI "
        "runner that shall act as its service principal sets OBO_KIT_DEVELOPER=machine.",
    )


def _is_a_machine_s(token: Hidden) -> bool:
    """Does a token say that it is an application's? A personal access token says nothing."""
    claims = claims_of(token)
    if claims.get("idtyp") == "app":  # Microsoft Entra
        return True
    subject = claims.get("sub")
    try:
        # A service principal's name is its application id; a person's is an e-mail address. Entra's subjects are neither.
        return isinstance(subject, str) and str(uuid.UUID(subject)) == subject.lower()
    except ValueError:
        return False
