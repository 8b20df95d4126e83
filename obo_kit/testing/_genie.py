"""Genie spaces: questions that the author maps to SQL, run as whoever asks. No language model is pretended."""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from obo_kit.testing._gate import Answer, Api, Call
from obo_kit.testing._grants import Grants
from obo_kit.testing._principals import Principal
from obo_kit.testing._refusals import REFUSALS, RefusedError, refusal_text
from obo_kit.testing._sql import Engine, Outcome, split_name
from obo_kit.testing._warehouses import statement_body

__all__ = ["Answers", "Genie"]

Answers = Mapping[str, str] | Callable[[str], "str | None"]

_KEPT = 1000
_NO_ANSWER = "This space has no answer to that question."


@dataclass(frozen=True, kw_only=True)
class _Space:
    id: str
    title: str
    warehouse: str
    tables: tuple[str, ...]
    answer: Callable[[str], str | None]


@dataclass(kw_only=True)
class _Message:
    """One question and what came of it. ``polls`` counts down the answers that say it is still running."""

    id: str
    space: str
    conversation: str
    owner: Principal
    question: str
    sql: str | None
    outcome: Outcome | None
    error: tuple[str, str] | None
    decision: str
    polls: int
    created: int


class Genie:
    """Serves Genie spaces. Lives as long as its workspace."""

    def __init__(self, grants: Grants, engine: Engine) -> None:
        self.polls = 0
        self._grants = grants
        self._engine = engine
        self._spaces: dict[str, _Space] = {}
        self._lock = threading.Lock()
        self._conversations: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._messages: OrderedDict[str, _Message] = OrderedDict()

    def add(self, space_id: str, *, warehouse_id: str, tables: Iterable[str], answers: Answers, title: str) -> None:
        """Add a space. ValueError where its warehouse or a table is unknown."""
        if not re.fullmatch(r"[\w-]+", space_id):
            msg = f"A Genie space id is made of letters, digits, - and _, not {space_id!r}"
            raise ValueError(msg)
        if isinstance(tables, str):
            msg = f"tables= takes names in a list, not the single string {tables!r}"
            raise ValueError(msg)
        if not self._grants.exists("sql_warehouse", warehouse_id):
            msg = f"There is no warehouse {warehouse_id!r}; add_warehouse() comes first"
            raise ValueError(msg)
        names = tuple(".".join(split_name(table)) for table in tables)
        for name in names:
            if not self._grants.exists("table", name):
                msg = f"There is no table {name!r}; add_table() comes first"
                raise ValueError(msg)
        self._grants.register("genie_space", space_id)
        self._spaces[space_id] = _Space(
            id=space_id, title=title or space_id, warehouse=warehouse_id, tables=names, answer=_answerer(answers)
        )

    def apis(self) -> list[Api]:
        """The routes."""
        space = "/api/2.0/genie/spaces/{space}"
        messages = space + "/conversations/{conversation}/messages"
        result = messages + "/{message}/query-result"
        return [
            Api(method="GET", path="/api/2.0/genie/spaces", handler=self._list),
            Api(method="GET", path=space, handler=self._get_space),
            Api(method="POST", path=space + "/start-conversation", handler=self._start, quick=False),
            Api(method="POST", path=messages, handler=self._ask_again, quick=False),
            Api(method="GET", path=messages + "/{message}", handler=self._get_message),
            Api(method="GET", path=result, handler=self._result),
            Api(method="GET", path=result + "/{attachment}", handler=self._result),
            Api(
                method="GET",
                path=messages + "/{message}/attachments/{attachment}/query-result",
                handler=self._result,
            ),
        ]

    # ------------------------------------------------------------------ handlers

    def _list(self, call: Call) -> Answer:
        mine = [
            self._space_body(space)
            for space in self._spaces.values()
            if self._grants.holds(call.user.principal, "CAN RUN", "genie_space", space.id)
        ]
        return Answer(content={"spaces": mine})

    def _get_space(self, call: Call) -> Answer:
        return Answer(content=self._space_body(self._space(call)))

    def _start(self, call: Call) -> Answer:
        space = self._space(call)
        conversation = uuid.uuid4().hex
        message = self._ask(call, space, conversation)
        with self._lock:
            self._conversations[conversation] = (space.id, call.user.principal.user_name)
            if len(self._conversations) > _KEPT:
                self._conversations.popitem(last=False)
        return Answer(
            content={
                "conversation_id": conversation,
                "message_id": message.id,
                "conversation": {
                    "id": conversation,
                    "conversation_id": conversation,
                    "space_id": space.id,
                    "title": message.question,
                    "created_timestamp": message.created,
                },
                "message": self._message_body(message, "SUBMITTED"),
            },
            decision=message.decision,
        )

    def _ask_again(self, call: Call) -> Answer:
        space = self._space(call)
        conversation = call.params["conversation"]
        with self._lock:
            owner = self._conversations.get(conversation)
        if owner != (space.id, call.user.principal.user_name):
            raise RefusedError("genie_missing", name=f"{space.id}, conversation {conversation}")
        message = self._ask(call, space, conversation)
        return Answer(content=self._message_body(message, "SUBMITTED"), decision=message.decision)

    def _get_message(self, call: Call) -> Answer:
        message = self._message(call)
        with self._lock:
            pending = message.polls > 0
            message.polls -= pending
        if pending:
            return Answer(content=self._message_body(message, "EXECUTING_QUERY"))
        status = "FAILED" if message.error else "COMPLETED"
        return Answer(content=self._message_body(message, status), decision=message.decision)

    def _result(self, call: Call) -> Answer:
        message = self._message(call)
        wanted = call.params.get("attachment", message.id)
        if message.outcome is None or message.error is not None or wanted != message.id:
            raise RefusedError("genie_missing", name=f"{message.space}, result {wanted}")
        return Answer(content={"statement_response": statement_body(message.id, message.outcome)})

    # ------------------------------------------------------------------ a question

    def _ask(self, call: Call, space: _Space, conversation: str) -> _Message:
        principal = call.user.principal
        question = call.text(call.json(), "content")
        message = _Message(
            id=uuid.uuid4().hex,
            space=space.id,
            conversation=conversation,
            owner=principal,
            question=question,
            sql=None,
            outcome=None,
            error=None,
            decision="allowed",
            polls=self.polls,
            created=int(time.time() * 1000),
        )
        if not self._grants.holds(principal, "CAN USE", "sql_warehouse", space.warehouse):
            self._fail(message, "genie_no_warehouse", user_id=principal.id)
        else:
            message.sql = space.answer(question)
            if message.sql is not None:
                self._run(message, message.sql)
        with self._lock:
            self._messages[message.id] = message
            if len(self._messages) > _KEPT:
                self._messages.popitem(last=False)
        return message

    def _run(self, message: _Message, sql: str) -> None:
        message.outcome = self._engine.run(message.owner, sql)
        error = message.outcome.error
        if error is None:
            return
        if error.table is not None:
            self._fail(message, "genie_no_select", name=error.table)
        else:
            self._fail(message, "genie_sql_failed", detail=error.text)

    @staticmethod
    def _fail(message: _Message, key: str, **fields: str) -> None:
        message.error = (str(REFUSALS[key].code), refusal_text(key, **fields))
        message.decision = REFUSALS[key].decision

    # ------------------------------------------------------------------ looking things up

    def _space(self, call: Call) -> _Space:
        name = call.params["space"]
        space = self._spaces.get(name)
        if space is None:
            raise RefusedError("genie_missing", name=name)
        if not self._grants.holds(call.user.principal, "CAN RUN", "genie_space", name):
            raise RefusedError("genie_denied", name=name)
        return space

    def _message(self, call: Call) -> _Message:
        space = self._space(call)
        wanted = call.params["message"]
        with self._lock:
            message = self._messages.get(wanted)
        # A conversation is its user's own, also before others who may use the space.
        if (
            message is None
            or message.space != space.id
            or message.conversation != call.params["conversation"]
            or message.owner != call.user.principal
        ):
            raise RefusedError("genie_missing", name=f"{space.id}, message {wanted}")
        return message

    @staticmethod
    def _space_body(space: _Space) -> dict[str, Any]:
        return {
            "space_id": space.id,
            "title": space.title,
            "description": "Tables: " + ", ".join(space.tables),
            "warehouse_id": space.warehouse,
        }

    @staticmethod
    def _message_body(message: _Message, status: str) -> dict[str, Any]:
        body: dict[str, Any] = {
            "id": message.id,
            "message_id": message.id,
            "conversation_id": message.conversation,
            "space_id": message.space,
            "user_id": int(message.owner.id),
            "content": message.question,
            "status": status,
            "created_timestamp": message.created,
            "last_updated_timestamp": message.created,
        }
        if status == "FAILED" and message.error is not None:
            body["error"] = {"type": message.error[0], "error": message.error[1]}
        if status == "COMPLETED" and message.outcome is None:
            body["attachments"] = [{"attachment_id": message.id, "text": {"content": _NO_ANSWER}}]
        elif status == "COMPLETED" and message.outcome is not None:
            rows = len(message.outcome.rows)
            body["attachments"] = [
                {
                    "attachment_id": message.id,
                    "query": {
                        "query": message.sql,
                        "description": message.question,
                        "statement_id": message.id,
                        "query_result_metadata": {"row_count": rows, "is_truncated": message.outcome.truncated},
                    },
                }
            ]
            body["query_result"] = {"statement_id": message.id, "row_count": rows}
        return body


def _answerer(answers: Answers) -> Callable[[str], str | None]:
    if not isinstance(answers, Mapping):
        return answers
    known = {_normal(question): sql for question, sql in answers.items()}
    return lambda question: known.get(_normal(question))


def _normal(question: str) -> str:
    return " ".join(question.casefold().split()).rstrip("?!. ")
