"""Serve an agent that was logged with MLflow, as Model Serving does."""

from __future__ import annotations

import contextlib
import contextvars
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from starlette.responses import StreamingResponse

from obo_kit.testing._kit import scopes_accepted_by
from obo_kit.testing._refusals import RefusedError, refusal_text
from obo_kit.testing.iam._directory import Caller, Directory, ServicePrincipal
from obo_kit.testing.iam._grants import PRIVILEGES, Grants
from obo_kit.testing.runtimes import set_invoker
from obo_kit.testing.server._api import Answer, Call
from obo_kit.testing.server._streams import DONE, Steps, sse, sse_error

if TYPE_CHECKING:
    import requests

__all__ = ["Agent", "Deployment", "InvocationError", "check_scopes", "exchange", "grant_resources", "read_policy"]

_logger = logging.getLogger("obo_kit.testing")

# The number of requests that may run at the same time.
WORKERS = 16


class InvocationError(Exception):
    """A deployed agent refused or failed a request.

    Attributes:
        status: HTTP status; 200 if the failure came in the middle of a stream.
        error_code: The platform's error code.
        message: The platform's message.
    """

    def __init__(self, status: int, error_code: str | int | None, message: str) -> None:
        super().__init__(f"{status} {error_code}: {message}")
        self.status = status
        self.error_code = error_code
        self.message = message


class Deployment:
    """A served agent. Lives as long as the ``deploy`` block.

    Attributes:
        endpoint: The name of the serving endpoint. Grant CAN QUERY on it to its users.
        url: The address of its invocations.
        auth_policy: The policy of the logged model: ``system_auth_policy`` and ``user_auth_policy``.
        service_principal: The identity of its system authorization.
    """

    def __init__(
        self,
        *,
        endpoint: str,
        url: str,
        auth_policy: dict[str, Any],
        service_principal: ServicePrincipal,
        verify: str | bool = True,
    ) -> None:
        self.endpoint = endpoint
        self.url = url
        self.auth_policy = auth_policy
        self.service_principal = service_principal
        self._verify = verify

    def invoke(self, token: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request over HTTP and return the answer.

        Args:
            token: The caller's token. It needs a model serving scope, and its user CAN QUERY.
            payload: The agent's input: ``{"input": [...]}`` for a ``ResponsesAgent``.

        Raises:
            InvocationError: The request was refused, or the agent raised.
        """
        with self._post(token, payload) as response:
            body: dict[str, Any] = response.json()
        return body

    def stream(self, token: str, payload: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Send a request over HTTP and yield the events as they come. Arguments and errors as for ``invoke``."""
        with self._post(token, {**payload, "stream": True}) as response:
            failed = False
            for raw in response.iter_lines():
                line = raw.decode() if isinstance(raw, bytes) else raw
                if line == "event: error":
                    failed = True
                if not line.startswith("data: ") or line == "data: [DONE]":
                    continue
                event: dict[str, Any] = json.loads(line.removeprefix("data: "))
                if failed:
                    raise InvocationError(200, event.get("error_code"), str(event.get("message")))
                yield event

    @contextlib.contextmanager
    def _post(self, token: str, payload: Mapping[str, Any]) -> Iterator[requests.Response]:
        import requests

        with (
            requests.Session() as session,
            session.post(
                self.url,
                json=dict(payload),
                headers={"Authorization": f"Bearer {token}"},
                stream=True,
                timeout=600,
                verify=self._verify,
            ) as response,
        ):
            if not response.ok:
                try:
                    body = response.json()
                except ValueError:  # a plain-text refusal
                    body = {"message": response.text}
                raise InvocationError(response.status_code, body.get("error_code"), str(body.get("message")))
            yield response

    def __repr__(self) -> str:
        return f"<Deployment {self.endpoint} at {self.url}>"


class Agent:
    """Serves one loaded model. Lives as long as its deployment."""

    task = "agent/v1/responses"

    def __init__(self, model: Any, *, auth_policy: dict[str, Any], directory: Directory) -> None:
        self._model = model
        self._policy = auth_policy
        self._directory = directory
        self._workers = ThreadPoolExecutor(max_workers=WORKERS, thread_name_prefix="obo-kit-agent")
        self.pool: Executor | None = self._workers
        self._streams: set[Callable[[], None]] = set()

    def describe(self) -> dict[str, Any]:
        """Return the endpoint's description of itself, besides its name."""
        return {"auth_policy": self._policy}

    def close(self) -> None:
        """Close the streams that were left unread and stop the threads. Waits for running steps."""
        self._workers.shutdown(wait=True, cancel_futures=True)
        for finish in list(self._streams):
            finish()

    def invoke(self, call: Call, body: dict[str, Any], /) -> Answer:
        """Run the model for the caller. Runs in a thread of ``pool``."""
        # The OpenAI clients name the endpoint in the body. The model gets the request without it.
        payload = {name: value for name, value in body.items() if name not in {"stream", "model"}}
        token = self._exchange(call.user)
        if body.get("stream"):
            return Answer(content=StreamingResponse(self._events(payload, token), media_type="text/event-stream"))
        # A new context, so that variables that the model sets do not reach the next request on this thread.
        context = contextvars.Context()
        return context.run(self._predict, payload, token)

    def _predict(self, payload: dict[str, Any], token: str | None) -> Answer:
        set_invoker(token)
        try:
            return Answer(content=_plain(self._model.predict(payload)))
        except Exception as error:
            _logger.debug("The deployed agent raised", exc_info=True)
            raise RefusedError("model_error", error=type(error).__name__, detail=str(error)) from None

    async def _events(self, payload: dict[str, Any], token: str | None) -> AsyncIterator[bytes]:
        def start() -> Iterator[Any]:
            set_invoker(token)
            return iter(self._model.predict_stream(payload))

        steps = Steps(start, self._workers)

        def finish() -> None:
            steps.close()
            self._streams.discard(finish)

        self._streams.add(finish)
        try:
            async for event in steps:
                yield sse(_plain(event))
            yield DONE
        except Exception as error:
            yield sse_error(error)
        finally:
            with contextlib.suppress(RuntimeError):  # the pool is closed; ``close`` finishes the rest
                self._workers.submit(finish)

    def _exchange(self, caller: Caller) -> str | None:
        """Return the caller's token, exchanged for one with the policy's scopes; None if the policy asks for none."""
        scopes = self._policy["user_auth_policy"].get("api_scopes") or ()
        return exchange(self._directory, caller, scopes) if scopes else None


def exchange(directory: Directory, caller: Caller, scopes: Iterable[str]) -> str:
    """Return a token of the caller with the scopes of a policy.

    Inferred: it may carry scopes that the caller's own token lacks, and it ends when that one ends.
    """
    return directory.mint(caller.principal, scopes, caller.expires_at - time.time())


def read_policy(logged: Any) -> dict[str, Any]:
    """Return the policy of a logged model. Resources that were logged the older way are system authorization."""
    policy = logged.auth_policy or {}
    return {
        "system_auth_policy": policy.get("system_auth_policy") or {"resources": logged.resources or {}},
        "user_auth_policy": policy.get("user_auth_policy") or {},
    }


def check_scopes(policy: Mapping[str, Any], model: str) -> None:
    """Refuse scopes that Model Serving does not accept, as its deployment does.

    Raises:
        databricks.sdk.errors.InvalidParameterValue: With the platform's text.
    """
    allowed = sorted(scopes_accepted_by("model-serving"))
    invalid = [name for name in policy["user_auth_policy"].get("api_scopes") or () if name not in allowed]
    if invalid:
        from databricks.sdk.errors import InvalidParameterValue

        text = refusal_text("deploy_bad_scope", model=model, invalid=", ".join(invalid), allowed=", ".join(allowed))
        raise InvalidParameterValue(text, error_code="INVALID_PARAMETER_VALUE")


def grant_resources(policy: Mapping[str, Any], principal: str, grants: Grants) -> None:
    """Grant the service principal what the system policy lists, and nothing else.

    Raises ValueError if the workspace has no such resource.
    """
    listed = policy["system_auth_policy"].get("resources", {}).get("databricks", {})
    for kind, entries in listed.items():
        for entry in entries:
            if entry.get("on_behalf_of_user"):
                continue
            if kind not in PRIVILEGES:
                _logger.info("The local workspace has no %s to grant to the agent: %s", kind, entry.get("name"))
                continue
            name = str(entry["name"])
            name = name.lower() if "." in name else name
            grants.grant(principal, PRIVILEGES[kind][0], name, kind=kind)


def _plain(result: Any) -> dict[str, Any]:
    """Return a model's result in a form that JSON can hold."""
    if hasattr(result, "model_dump"):
        result = result.model_dump(exclude_none=True)
    elif hasattr(result, "to_dict"):
        result = result.to_dict(orient="records") if hasattr(result, "columns") else result.to_dict()
    elif hasattr(result, "tolist"):
        result = result.tolist()
    body = result if isinstance(result, dict) else {"predictions": result}
    return dict(json.loads(json.dumps(body, default=str)))
