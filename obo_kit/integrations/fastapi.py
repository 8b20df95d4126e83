"""FastAPI: a dependency that opens the session of a request's user.

::

    from obo_kit.integrations.fastapi import user_dependency

    User = Annotated[UserSession, Depends(user_dependency())]

    @app.post("/ask")
    def ask(question: str, session: User) -> str: ...

Make a dependency of your own that opens a session ``async def``. A sync one runs in a thread of its own, and the endpoint never
sees its context, so tools in it are refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

try:
    from starlette.requests import HTTPConnection
except ImportError as missing:
    raise ImportError("obo_kit.integrations.fastapi needs FastAPI: pip install fastapi") from missing

from obo_kit.identity._credentials import DEFAULT_LIMITS, Limits
from obo_kit.identity._headers import no_token
from obo_kit.session._entry import user_session
from obo_kit.session._session import UserSession

__all__ = ["user_dependency"]


def user_dependency(
    *, host: str | None = None, required: bool = True, limits: Limits = DEFAULT_LIMITS
) -> Callable[[HTTPConnection], AsyncIterator[UserSession]]:
    """Build a dependency that opens the session of the request's user: ``Depends(user_dependency())``.

    The session covers the endpoint, sync or async, and the dependencies after it. It lives until FastAPI leaves the
    dependency: from FastAPI 0.118, that is after a streamed response was sent; in earlier versions, before. In those, decorate
    the function that streams with ``@user_session`` instead.

    Args:
        host: The workspace; by default ``DATABRICKS_HOST``.
        required: With ``False``, a request without a user's token opens a session without a user.
        limits: How long the session's clients wait.

    Raises:
        NoUserIdentityError: A request comes without a user's token.
        TokenExpiredError: The request's token has expired.
    """

    async def dependency(connection: HTTPConnection) -> AsyncIterator[UserSession]:
        headers = connection.headers
        if not required and "x-forwarded-access-token" not in headers:
            scope = user_session(required=False, limits=limits)
        else:
            scope = user_session(headers=headers, host=host, limits=limits)
        async with scope as session:
            if not required:
                missing = no_token()
                session._lease.nobody = (missing.message, missing.remedy)  # read only if there is no user
            yield session

    return dependency
