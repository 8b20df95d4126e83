"""Say why a session is missing, and how to open it, for the framework that lost it."""

from __future__ import annotations

from obo_kit._upstream.requests import serving_framework

__all__: list[str] = []

_GENERAL = (
    "Run this inside a function under @user_session. To carry the session into a thread of your own, use "
    "obo_kit.propagate(fn); into the thread pools of a framework, call obo_kit.propagate(ThreadPoolExecutor) once. Around a "
    "yield, decorate the function instead of using a `with` block."
)
_BY_FRAMEWORK = {
    "fastapi": "Make the dependency that opens the session `async def` (a sync one runs in a thread of its own, where the "
    "endpoint does not see it), or use Depends(obo_kit.integrations.fastapi.user_dependency()). Decorate the generator of a "
    "StreamingResponse with @user_session: it runs after the endpoint's session has ended. In a thread of your own, use "
    "obo_kit.propagate(fn).",
    "streamlit": "Open the session inside the callback or fragment itself: Streamlit runs both outside the script's "
    "`with` block. Decorate it: @user_session(headers=lambda: st.context.headers).",
    "gradio": "Decorate the event's function: @user_session(headers=lambda request: request.headers). A `with` block across "
    "a yield covers only the first step.",
    "flask": "Decorate the generator that Flask streams: @user_session(headers=…). It runs after the view has returned, and "
    "the view's session has ended by then. In a thread of your own, use obo_kit.propagate(fn).",
    "mcp": "Open the session in the tool: a stateful MCP server runs tools in the task that the connection began, with the "
    "context of its first request. Serve with stateless_http=True, or decorate the tool with "
    "@user_session(headers=lambda ctx: ctx.request_context.request.headers).",
}


_HEADERS = {
    "streamlit": "@user_session(headers=lambda: st.context.headers) on the script's function, the callback or the fragment",
    "gradio": "a parameter request: gr.Request, and @user_session(headers=lambda request: request.headers) on the event's "
    "function: Gradio runs it in a queue, outside any middleware, also where its app is mounted in another",
    "flask": "@user_session(headers=lambda: request.headers) on the view",
    "mcp": "@user_session(headers=lambda ctx: ctx.request_context.request.headers) on the tool, or stateless_http=True: a "
    "stateful MCP server runs tools in the task that the connection began, with the context of its first request",
}


def where_the_headers_are() -> str | None:
    """Return how to pass the user in a framework that the kit cannot see into; `None` if no such framework runs here."""
    how = _HEADERS.get(serving_framework() or "")
    return f"Pass the user where the framework has the headers: {how}." if how is not None else None


_MIDDLEWARE = (
    "Open the session in the code that serves the request: @user_session on the endpoint. A session that was open when the "
    "request began does not belong to it. If a middleware opens the session, add UserHeadersMiddleware after that middleware, "
    "so that it is the outermost one."
)


def advice(*, inside_a_session: bool = False) -> str:
    """Return how to give the running code a session.

    Args:
        inside_a_session: Whether the request began where another session was open, which it does not see.
    """
    if inside_a_session:
        return _MIDDLEWARE
    return _BY_FRAMEWORK.get(serving_framework() or "", _GENERAL)
