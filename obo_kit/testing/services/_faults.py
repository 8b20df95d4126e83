"""The methods of a workspace that add and remove faults."""

from __future__ import annotations

from collections.abc import Mapping
from types import EllipsisType
from typing import Any

from obo_kit.testing.server._faults import Fault, FaultKind
from obo_kit.testing.server._service import Mixin

__all__ = ["FaultsMixin"]


class FaultsMixin(Mixin):
    """Faults."""

    def add_fault(
        self,
        kind: FaultKind = "status",
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | str | None = None,
        seconds: float | None = None,
        path_prefix: str = "/",
        user: str | None = None,
        after: int = 0,
        times: int | EllipsisType | None = ...,
        probability: float = 1.0,
        seed: int = 0,
    ) -> None:
        """Make something go wrong. Faults that only delay or damage an answer add up; the first of another kind decides.

        ======================  ==========================================================================
        ``"status"``            answers with ``status``, ``headers`` and ``body``
        ``"latency"``           waits ``seconds`` before the answer
        ``"slow_stream"``       sends the answer in pieces, ``seconds`` before each
        ``"truncated_body"``    sends half of the body (of a stream: of its first event), then hangs up
        ``"reset"``             resets the connection, without an answer
        ``"login_redirect"``    redirects to ``/login.html``, as for a browser that is not signed in
        ``"login_page"``        answers 200 with that page
        ``"expired_token"``     the token of the request has expired, for good; a fresh one of the same user works
        ``"cold_warehouse"``    a SQL statement is ``PENDING`` when its wait is over, at once, as while a warehouse starts
        ``"ip_access_list"``    the workspace's IP access list blocks the address
        ``"entitlement"``       the user lacks an entitlement of the workspace
        ``"feature_disabled"``  the feature is off in this workspace
        ``"other_workspace"``   the token is another workspace's (``Invalid access to Org``)
        ``"private_link"``      the caller's network may not reach the workspace: a redirect that says so
        ======================  ==========================================================================

        The last five answer in the words that were reported. To simulate any other answer, pass it as the body of ``"status"``.

        Args:
            kind: The kind of fault.
            status: HTTP status, 200 to 599.
            headers: Response headers, such as ``Retry-After``.
            body: JSON object or text; by default an error in the platform's form.
            seconds: The delay.
            path_prefix: The start of the paths that it applies to.
            user: The principal that it applies to; None for everybody.
            after: The number of requests that pass first.
            times: The number of requests that it hits; None for no limit. One by default, or no limit if ``probability`` is
                less than 1.
            probability: The probability that a request is hit, more than 0 and at most 1.
            seed: The seed of the random numbers: the same requests in the same order are hit.

        Raises:
            ValueError: An argument is out of range or does not belong to the kind, or there is no such principal.
        """
        who = self._core.directory.find(user).name if user is not None else None
        self._core.faults.add(
            Fault(
                kind,
                status=status,
                headers=headers,
                body=body,
                seconds=seconds,
                path_prefix=path_prefix,
                user=who,
                after=after,
                times=times,
                probability=probability,
                seed=seed,
            )
        )

    def clear_faults(self) -> None:
        """Remove all faults. A token that has expired stays expired."""
        self._core.faults.clear()
