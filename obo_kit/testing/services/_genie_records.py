"""The records of Genie: spaces, conversations and messages, and their refusals."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from obo_kit.testing._refusals import REFUSALS, Refusal, declare, refusal_text
from obo_kit.testing.iam._directory import Principal
from obo_kit.testing.sql._engine import Outcome

__all__ = ["ON_THE_WAY", "Answers", "Conversation", "GenieAnswer", "Message", "Space", "normal"]

declare(
    {
        "genie_missing": Refusal(
            status=404,
            code="RESOURCE_DOES_NOT_EXIST",
            text="Unable to get space [{name}]. Caused by Node with resource name Some(datarooms/{name}) does not exist.",
            decision="not found",
            standing="reported",
            source="fid:71011215280, G-APPKIT-168; reports quote the text for a space that is absent or hidden",
        ),
        "genie_denied": Refusal(
            status=404,
            code="RESOURCE_DOES_NOT_EXIST",
            text="Unable to get space [{name}]. Caused by Node with resource name Some(datarooms/{name}) does not exist.",
            decision="missing grant",
            standing="reported",
            source="errors.genie_space_denied",
        ),
        "genie_forbidden": Refusal(
            status=403,
            code="PERMISSION_DENIED",
            text='You need "Can View" permission to perform this action',
            decision="missing grant",
            standing="reported",
            source="fid:14872235900, fid:31913721377 (a space that shows itself, to those who may not use it)",
        ),
        "genie_not_manager": Refusal(
            status=403,
            code="PERMISSION_DENIED",
            text='You need "Can Manage" permission to perform this action',
            decision="missing grant",
            standing="inferred",
            source="databricks-sdk says that include_all needs CAN MANAGE; the wording follows genie_forbidden",
        ),
        # Message failures: HTTP 200, message status FAILED.
        "genie_no_select": Refusal(
            status=200,
            code="GENERIC_SQL_EXEC_API_CALL_EXCEPTION",
            text="PERMISSION_DENIED: No access to '{name}'. User must have SELECT",
            decision="missing grant",
            standing="reported",
            source="errors.genie_message_failed",
        ),
        "genie_no_warehouse": Refusal(
            status=200,
            code="GENERIC_SQL_EXEC_API_CALL_EXCEPTION",
            text="PERMISSION_DENIED: {user_id} is not authorized to use or monitor this SQL Endpoint",
            decision="missing grant",
            standing="reported",
            source="errors.warehouse_denied (its note: also inside a FAILED Genie message)",
        ),
        "genie_scripted": Refusal(
            status=200,
            code="GENERIC_CHAT_COMPLETION_EXCEPTION",
            text="{detail}",
            decision="model error",
            standing="inferred",
            source="a failure that the author asked for; the type is one of databricks-sdk's MessageErrorType",
        ),
        "genie_sql_failed": Refusal(
            status=200,
            code="GENERIC_SQL_EXEC_API_CALL_EXCEPTION",
            text="{detail}",
            decision="bad request",
            standing="inferred",
            source="the engine's own text",
        ),
    }
)

_NO_ANSWER = "This space has no answer to that question."
# The status of a message while it is polled. The names are databricks-sdk's MessageStatus; their order is inferred.
ON_THE_WAY = ("FETCHING_METADATA", "FILTERING_CONTEXT", "ASKING_AI", "PENDING_WAREHOUSE", "EXECUTING_QUERY")
_ENDS = ("COMPLETED", "FAILED", "CANCELLED", "QUERY_RESULT_EXPIRED")


@dataclass(frozen=True, kw_only=True)
class GenieAnswer:
    """A Genie space's answer to a question, if SQL alone does not express it.

    Attributes:
        sql: Runs as the caller. Its result comes as a query attachment.
        text: Comes as a text attachment.
        suggested_questions: Come as an attachment of their own.
        status: How the message ends: ``COMPLETED``, ``FAILED``, ``CANCELLED``, or ``QUERY_RESULT_EXPIRED`` (the result
            is gone until the query is executed again).
        error: The text of the failure, if the status is ``FAILED``.

    Raises:
        ValueError: The fields do not go together.
    """

    sql: str | None = None
    text: str | None = None
    suggested_questions: Sequence[str] = ()
    status: Literal["COMPLETED", "FAILED", "CANCELLED", "QUERY_RESULT_EXPIRED"] = "COMPLETED"
    error: str | None = None

    def __post_init__(self) -> None:
        msg = None
        if self.status not in _ENDS:
            msg = f"A Genie answer ends as {', '.join(_ENDS)}, not {self.status!r}"
        elif (self.status == "FAILED") != (self.error is not None):
            msg = "A Genie answer has error= if its status is FAILED, and only then"
        elif self.status == "COMPLETED" and self.sql is None and self.text is None:
            msg = "A Genie answer needs sql= or text="
        elif self.status == "QUERY_RESULT_EXPIRED" and self.sql is None:
            msg = "A Genie answer needs sql= for its result to expire"
        if msg is not None:
            raise ValueError(msg)


Answers = Mapping[str, "str | GenieAnswer"] | Callable[[str], "str | GenieAnswer | None"]


@dataclass(frozen=True, kw_only=True)
class Space:
    id: str
    title: str
    warehouse: str
    tables: tuple[str, ...]
    answer: Callable[[str], str | GenieAnswer | None]
    hidden: bool


@dataclass(kw_only=True)
class Message:
    """One question and its outcome. ``polls`` counts down the answers that say it is still running."""

    space: str
    conversation: str
    owner: Principal
    question: str
    polls: int
    answer: GenieAnswer | None = None
    outcome: Outcome | None = None
    status: str = "COMPLETED"
    error: tuple[str, str] | None = None
    decision: str = "allowed"
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    attachment: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time() * 1000))

    def fail(self, key: str, **fields: str) -> None:
        """End as a failure."""
        self.status = "FAILED"
        self.error = (str(REFUSALS[key].code), refusal_text(key, **fields))
        self.decision = REFUSALS[key].decision

    def body(self, status: str) -> dict[str, Any]:
        """Return the message as the API shows it."""
        body: dict[str, Any] = {
            "id": self.id,
            "message_id": self.id,
            "conversation_id": self.conversation,
            "space_id": self.space,
            "user_id": int(self.owner.id),
            "content": self.question,
            "status": status,
            "created_timestamp": self.created,
            "last_updated_timestamp": self.created,
        }
        if status == "FAILED" and self.error is not None:
            body["error"] = {"type": self.error[0], "error": self.error[1]}
        if status in {"COMPLETED", "QUERY_RESULT_EXPIRED"}:
            body["attachments"] = self._attachments()
            if self.outcome is not None:
                body["query_result"] = {"statement_id": self.id, "row_count": len(self.outcome.rows)}
        return body

    def _attachments(self) -> list[dict[str, Any]]:
        answer = self.answer or GenieAnswer(text=_NO_ANSWER)
        attachments: list[dict[str, Any]] = []
        if self.outcome is not None:
            metadata = {"row_count": len(self.outcome.rows), "is_truncated": self.outcome.truncated}
            query = {
                "query": answer.sql,
                "description": self.question,
                "statement_id": self.id,
                "query_result_metadata": metadata,
            }
            attachments.append({"attachment_id": self.attachment, "query": query})
        if answer.text is not None:
            attachments.append({"attachment_id": f"{self.attachment}-text", "text": {"content": answer.text}})
        if answer.suggested_questions:
            questions = {"questions": list(answer.suggested_questions)}
            attachments.append({"attachment_id": f"{self.attachment}-next", "suggested_questions": questions})
        return attachments


@dataclass(kw_only=True)
class Conversation:
    """The messages of one user about one space, oldest first."""

    space: str
    owner: Principal
    title: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time() * 1000))
    messages: list[Message] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        return {"conversation_id": self.id, "title": self.title, "created_timestamp": self.created}


def normal(question: str) -> str:
    return " ".join(question.casefold().split()).rstrip("?!. ")
