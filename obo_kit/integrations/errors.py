"""Answer requests without a user: 401 or 403 with a line for the caller, and the remedy in the log.

::

    from obo_kit.integrations.errors import answer_refusals

    answer_refusals(app)  # FastAPI, Starlette, Flask, or MLflow's AgentServer

Without it a server answers 500, sometimes with the text of the error, which is meant for whoever deployed the agent.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

from obo_kit.denials import explain, kept_denial
from obo_kit.exceptions import DenialReason, OboError
from obo_kit.integrations.asgi import UserHeadersMiddleware
from obo_kit.session._entry import user_session

__all__ = ["answer_refusals"]

logger = logging.getLogger(__name__)

_WHO = frozenset({DenialReason.NO_IDENTITY, DenialReason.TOKEN_EXPIRED})
_OF_AN_AGENT = ("/invocations", "/responses")
_REFUSED = 1008  # the close code of a websocket that violates a policy


class _Answer(NamedTuple):
    status: int
    body: dict[str, str]
    headers: dict[str, str]


def answer_refusals(app: Any) -> None:
    """Answer a user's refusals that leave an application: 401 if the user is unknown, else 403.

    That is: what the kit raises, and what the workspace refused in a tool or to a client of the session.

    The body is ``{"detail": ...}``, with the denial's ``user_message``. The remedy is logged at ERROR. Other errors stay as
    they are. A stream that has begun has already sent its 200. To refuse it in time, open a session around the view too: it
    asks for the user first.

    Args:
        app: A FastAPI or Starlette application, a Flask application, or MLflow's ``AgentServer``. An ``AgentServer`` asks for
            the user before the agent runs, so that its streams are answered too.

    Raises:
        TypeError: The application is none of these.
    """
    if hasattr(app, "add_exception_handler"):
        _answer_starlette(app)
    elif hasattr(app, "register_error_handler"):
        _answer_flask(app)
    elif hasattr(getattr(app, "app", None), "add_exception_handler"):
        _answer_starlette(app.app)
        app.app.add_middleware(_UserFirst)
    else:
        raise TypeError(f"answer_refusals takes FastAPI, Starlette, Flask or AgentServer, not a {type(app).__name__}")


def _answer_to(error: BaseException | None) -> _Answer | None:
    """Return the answer to a refusal of the user; `None` for any other error."""
    if error is None:
        return None
    denial = explain(error) if isinstance(error, OboError) else kept_denial(error)
    if denial is None:
        return None
    logger.error("%s Fix: %s", denial.detail, denial.remedy)
    is_unknown = denial.reason in _WHO
    return _Answer(
        status=401 if is_unknown else 403,
        body={"detail": denial.user_message},
        headers={"WWW-Authenticate": "Bearer"} if is_unknown else {},
    )


# --- Starlette, FastAPI, MLflow's agent server -----------------------------------------------------------------------------


def _answer_starlette(app: Any) -> None:
    from starlette.exceptions import HTTPException

    theirs = app.exception_handlers.get(HTTPException)

    async def failed(connection: Any, error: Exception) -> Any:
        # MLflow's agent server turns whatever the agent raises into a 500 with its text.
        answer = _answer_to(error.__context__) if getattr(error, "status_code", 0) == 500 else None
        return _response(answer) if answer is not None else await theirs(connection, error)

    app.add_middleware(_Answered)
    if theirs is not None:
        app.add_exception_handler(HTTPException, failed)


class _Answered:
    """Answers refusals that leave the application."""

    answers_refusals = True

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        sent = set()

        async def noted(message: Any) -> None:
            sent.add(message["type"])
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:
            answer = None if {"http.response.start", "websocket.close"} & sent else _answer_to(error)
            if answer is None:
                raise
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": _REFUSED, "reason": answer.body["detail"]})
            else:
                await _response(answer)(scope, receive, send)


def _response(answer: _Answer) -> Any:
    from starlette.responses import JSONResponse

    return JSONResponse(answer.body, answer.status, headers=answer.headers)


async def _without_user() -> _Answer | None:
    """Return the answer to a request that names no user; `None` if it names one."""
    try:
        async with user_session():
            return None
    except OboError as error:
        return _answer_to(error)


class _UserFirst:
    """Asks for the user before the agent runs."""

    def __init__(self, app: Any) -> None:
        async def checked(scope: Any, receive: Any, send: Any) -> None:
            is_asked = scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in _OF_AN_AGENT
            answer = await _without_user() if is_asked else None
            await (app if answer is None else _response(answer))(scope, receive, send)

        self._serve = UserHeadersMiddleware(checked)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._serve(scope, receive, send)


# --- Flask -----------------------------------------------------------------------------------------------------------------


def _answer_flask(app: Any) -> None:
    from werkzeug.exceptions import HTTPException

    theirs = app.error_handler_spec[None][None].get(Exception)

    def refused(error: Exception) -> Any:
        answer = _answer_to(error)
        if answer is not None:
            return answer.body, answer.status, answer.headers
        if theirs is not None:
            return theirs(error)
        if isinstance(error, HTTPException):
            return error
        raise error

    app.register_error_handler(Exception, refused)
