"""Where a session is lost, by the framework that lost it, and how to mend it."""

from __future__ import annotations

from obo_kit._upstream.requests import serving_framework

__all__: list[str] = []

_GENERAL = (
    "Run this inside a function under @user_session; carry the session into a thread of your own with "
    "obo_kit.propagate(fn), and into the pools of a framework with obo_kit.propagate(ThreadPoolExecutor), once. Around a "
    "yield, decorate the function instead of using a `with` block."
)
_BY_FRAMEWORK = {
    "fastapi": "Make the dependency that opens the session `async def` (a sync one runs in a thread of its own, where the "
    "endpoint does not see it), or use Depends(obo_kit.integrations.fastapi.user_dependency()). In a thread of your own, "
    "use obo_kit.propagate(fn).",
    "streamlit": "Open the session inside the callback or fragment itself: Streamlit runs both outside of the script's "
    "`with` block. Decorate it: @user_session(headers=lambda: st.context.headers).",
    "gradio": "Decorate the event's function: @user_session(headers=lambda request: request.headers). A `with` block across "
    "a yield holds for the first step only.",
    "flask": "Decorate the generator that Flask streams: @user_session(headers=…). It runs after the view has returned, when "
    "the view's session has ended. In a thread of your own, use obo_kit.propagate(fn).",
    "mcp": "Open the session in the tool: a stateful MCP server runs tools in the task that the connection began, with the "
    "context of its first request. Serve with stateless_http=True, or decorate the tool with "
    "@user_session(headers=lambda ctx: ctx.request_context.request.headers).",
}


def advice() -> str:
    """Return how to bring a session to the code that runs here."""
    return _BY_FRAMEWORK.get(serving_framework() or "", _GENERAL)
