"""Genie spaces: the author maps questions to SQL, which runs as the caller. There is no language model."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from obo_kit.testing._refusals import RefusedError
from obo_kit.testing.iam._grants import PRIVILEGES
from obo_kit.testing.server._api import Answer, Api, Call
from obo_kit.testing.server._service import Core, Mixin, Part, Service
from obo_kit.testing.services._genie_records import (
    ON_THE_WAY,
    Answers,
    Conversation,
    GenieAnswer,
    Message,
    Space,
    normal,
)
from obo_kit.testing.sql._engine import split_name
from obo_kit.testing.sql._results import statement_body

__all__ = ["Genie", "GenieMixin"]

_PAGE = 100


class Genie(Service):
    """Serves Genie spaces. Lives as long as its workspace.

    Requests and answers have the forms that databricks-sdk declares. Inferred: a conversation is hidden from everybody but
    its user, an expired result is not found, and the type of a failed answer.

    Attributes:
        polls: The number of polls that find a message still running.
        kept: The number of conversations, and of messages of each, that are kept.
    """

    def __init__(self, core: Core) -> None:
        self.polls = 0
        self.kept = 1000
        self._grants = core.grants
        self._engine = core.engine
        self._spaces: dict[str, Space] = {}
        self._lock = threading.Lock()
        self._conversations: OrderedDict[str, Conversation] = OrderedDict()

    def add(
        self,
        space_id: str,
        *,
        warehouse_id: str,
        tables: Iterable[str],
        answers: Answers,
        title: str,
        hidden: bool,
    ) -> None:
        """Add a space. Raises ValueError if its warehouse or a table is unknown."""
        if not re.fullmatch(r"[\w-]+", space_id):
            msg = f"A Genie space id consists of letters, digits, - and _, not {space_id!r}"
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
        self._spaces[space_id] = Space(
            id=space_id,
            title=title or space_id,
            warehouse=warehouse_id,
            tables=names,
            answer=_answerer(answers),
            hidden=hidden,
        )

    def apis(self) -> list[Api]:
        """Return the routes."""
        space = "/api/2.0/genie/spaces/{space}"
        messages = space + "/conversations/{conversation}/messages"
        message = messages + "/{message}"
        attachment = message + "/attachments/{attachment}"
        return [
            Api(method="GET", path="/api/2.0/genie/spaces", handler=self._list),
            Api(method="GET", path=space, handler=self._get_space),
            Api(method="POST", path=space + "/start-conversation", handler=self._start, quick=False),
            Api(method="GET", path=space + "/conversations", handler=self._list_conversations),
            Api(method="POST", path=messages, handler=self._ask_again, quick=False),
            Api(method="GET", path=messages, handler=self._list_messages),
            Api(method="GET", path=message, handler=self._get_message),
            # There have been three routes for a result. The last one is the current one.
            Api(method="GET", path=message + "/query-result", handler=self._result),
            Api(method="GET", path=message + "/query-result/{attachment}", handler=self._result),
            Api(method="GET", path=attachment + "/query-result", handler=self._result),
            Api(method="POST", path=message + "/execute-query", handler=self._execute, quick=False),
            Api(method="POST", path=attachment + "/execute-query", handler=self._execute, quick=False),
        ]

    # ------------------------------------------------------------------ spaces and conversations

    def _list(self, call: Call) -> Answer:
        mine = [space for space in self._spaces.values() if self._may(call, "CAN RUN", space)]
        return _page(call, "spaces", [_space_body(space) for space in mine])

    def _get_space(self, call: Call) -> Answer:
        return Answer(content=_space_body(self._space(call)))

    def _list_conversations(self, call: Call) -> Answer:
        space = self._space(call)
        everybodys = call.query.get("include_all") == "true"
        if everybodys and not self._may(call, "CAN MANAGE", space):
            raise RefusedError("genie_not_manager")
        with self._lock:
            conversations = [
                conversation.summary()
                for conversation in reversed(self._conversations.values())
                if conversation.space == space.id and (everybodys or conversation.owner == call.user.principal)
            ]
        return _page(call, "conversations", conversations)

    def _list_messages(self, call: Call) -> Answer:
        conversation = self._conversation(call)
        with self._lock:
            bodies = [message.body(_status(message)) for message in conversation.messages]
        return _page(call, "messages", bodies)

    # ------------------------------------------------------------------ a question

    def _start(self, call: Call) -> Answer:
        space = self._space(call)
        question = call.text(call.json(), "content")
        conversation = Conversation(space=space.id, owner=call.user.principal, title=question)
        message = self._ask(space, conversation, question)
        with self._lock:
            self._conversations[conversation.id] = conversation
            while len(self._conversations) > self.kept:
                self._conversations.popitem(last=False)
        return Answer(
            content={
                "conversation_id": conversation.id,
                "message_id": message.id,
                "conversation": {**conversation.summary(), "id": conversation.id, "space_id": space.id},
                "message": message.body("SUBMITTED"),
            },
            decision=message.decision,
        )

    def _ask_again(self, call: Call) -> Answer:
        space = self._space(call)
        conversation = self._conversation(call)
        message = self._ask(space, conversation, call.text(call.json(), "content"))
        return Answer(content=message.body("SUBMITTED"), decision=message.decision)

    def _get_message(self, call: Call) -> Answer:
        message = self._message(call)
        with self._lock:
            status = _status(message)
            message.polls -= message.polls > 0
        decision = message.decision if status == message.status else "allowed"
        return Answer(content=message.body(status), decision=decision)

    def _result(self, call: Call) -> Answer:
        message = self._message(call)
        wanted = call.params.get("attachment", message.attachment)
        if message.status != "COMPLETED" or message.outcome is None or wanted != message.attachment:
            raise RefusedError("genie_missing", name=f"{message.space}, result {wanted}")
        return Answer(content={"statement_response": statement_body(message.id, message.outcome)})

    def _execute(self, call: Call) -> Answer:
        message = self._message(call)
        wanted = call.params.get("attachment", message.attachment)
        if message.answer is None or message.answer.sql is None or wanted != message.attachment:
            raise RefusedError("genie_missing", name=f"{message.space}, query {wanted}")
        outcome = self._engine.run(message.owner, message.answer.sql)
        if outcome.error is None:
            message.outcome, message.status, message.error = outcome, "COMPLETED", None
        content = {"statement_response": statement_body(message.id, outcome)}
        return Answer(content=content, decision=outcome.decision)

    def _ask(self, space: Space, conversation: Conversation, question: str) -> Message:
        message = Message(
            space=space.id,
            conversation=conversation.id,
            owner=conversation.owner,
            question=question,
            polls=self.polls,
        )
        if not self._grants.holds(message.owner, "CAN USE", "sql_warehouse", space.warehouse):
            message.fail("genie_no_warehouse", user_id=message.owner.id)
        else:
            try:
                answer = space.answer(question)
                message.answer = GenieAnswer(sql=answer) if isinstance(answer, str) else answer
            except Exception as error:
                # The author's function takes the place of the model here.
                message.fail("genie_scripted", detail=f"The answers raised {type(error).__name__}: {error}")
            self._run(message)
        with self._lock:
            conversation.messages.append(message)
            del conversation.messages[: -self.kept]
        return message

    def _run(self, message: Message) -> None:
        """Answer, and run the SQL of the answer as the caller."""
        answer = message.answer
        if answer is None:
            return
        message.status = answer.status
        if answer.error is not None:
            message.fail("genie_scripted", detail=answer.error)
        elif answer.sql is not None and answer.status != "CANCELLED":
            message.outcome = self._engine.run(message.owner, answer.sql)
            error = message.outcome.error
            if error is not None and error.table is not None:
                message.fail("genie_no_select", name=error.table)
            elif error is not None:
                message.fail("genie_sql_failed", detail=error.text)

    # ------------------------------------------------------------------ looking things up

    def _may(self, call: Call, privilege: str, space: Space) -> bool:
        """Return whether the caller holds the privilege on a space, or a higher one."""
        levels = PRIVILEGES["genie_space"]
        enough = levels[levels.index(privilege) :]
        return any(self._grants.holds(call.user.principal, level, "genie_space", space.id) for level in enough)

    def _space(self, call: Call) -> Space:
        name = call.params["space"]
        space = self._spaces.get(name)
        if space is None:
            raise RefusedError("genie_missing", name=name)
        if not self._may(call, "CAN RUN", space):
            raise RefusedError("genie_denied" if space.hidden else "genie_forbidden", name=name)
        return space

    def _conversation(self, call: Call) -> Conversation:
        space = self._space(call)
        wanted = call.params["conversation"]
        with self._lock:
            conversation = self._conversations.get(wanted)
        # A conversation belongs to its user alone, even if others may use the space.
        if conversation is None or (conversation.space, conversation.owner) != (space.id, call.user.principal):
            raise RefusedError("genie_missing", name=f"{space.id}, conversation {wanted}")
        return conversation

    def _message(self, call: Call) -> Message:
        conversation = self._conversation(call)
        wanted = call.params["message"]
        with self._lock:
            for message in conversation.messages:
                if message.id == wanted:
                    return message
        raise RefusedError("genie_missing", name=f"{conversation.space}, message {wanted}")


def _status(message: Message) -> str:
    return ON_THE_WAY[-min(message.polls, len(ON_THE_WAY))] if message.polls else message.status


def _space_body(space: Space) -> dict[str, Any]:
    return {
        "space_id": space.id,
        "title": space.title,
        "description": "Tables: " + ", ".join(space.tables),
        "warehouse_id": space.warehouse,
    }


def _page(call: Call, name: str, entries: Sequence[dict[str, Any]]) -> Answer:
    """Return one page of a list. Its token is the position of the next page."""
    size, start = call.query.get("page_size") or str(_PAGE), call.query.get("page_token") or "0"
    if not re.fullmatch(r"[1-9]\d{0,5}", size) or not re.fullmatch(r"\d{1,9}", start):
        raise RefusedError("invalid_parameter", detail="page_size must be a number from 1 on, page_token one of ours")
    end = int(start) + int(size)
    content: dict[str, Any] = {name: list(entries[int(start) : end])}
    if end < len(entries):
        content["next_page_token"] = str(end)
    return Answer(content=content)


def _answerer(answers: Answers) -> Callable[[str], str | GenieAnswer | None]:
    if not isinstance(answers, Mapping):
        return answers
    known = {normal(question): answer for question, answer in answers.items()}

    def answer(question: str) -> str | GenieAnswer | None:
        # A GenieAgent sends the whole chat: each message on a line, after its author. The last one is the question.
        last = question.strip().rpartition("\n")[2]
        return known.get(normal(question)) or known.get(normal(last.partition(": ")[2]))

    return answer


class GenieMixin(Mixin):
    """Genie spaces."""

    _genie = Part(Genie)

    @property
    def genie_polls(self) -> int:
        """Return the number of polls that find a Genie message still running. 0 by default, to be quick."""
        return self._genie.polls

    @genie_polls.setter
    def genie_polls(self, count: int) -> None:
        if count < 0:
            msg = f"genie_polls is a number of polls, not {count!r}"
            raise ValueError(msg)
        self._genie.polls = count

    def add_genie_space(
        self,
        space_id: str,
        *,
        warehouse_id: str,
        tables: Iterable[str],
        answers: Answers,
        title: str = "",
        hidden: bool = True,
    ) -> None:
        """Add a Genie space. Users need CAN RUN on it, CAN USE on its warehouse, and SELECT on what an answer reads.

        Args:
            space_id: Its id.
            warehouse_id: The warehouse that it runs on.
            tables: The tables that it is about.
            answers: SQL, or a ``GenieAnswer``, per question; or a function from question to either. Case and closing
                punctuation of a question do not matter. Of a chat that a ``GenieAgent`` sends, the last message counts. If
                there is no answer (None), the space says so; if the function raises, the message fails.
            title: Its title.
            hidden: Whether users without CAN RUN get the answer that it does not exist (404), or that they may not use it
                (403). Both were reported of the platform.

        Raises:
            ValueError: The id is malformed or taken, or the warehouse or a table is unknown.
        """
        self._genie.add(space_id, warehouse_id=warehouse_id, tables=tables, answers=answers, title=title, hidden=hidden)
