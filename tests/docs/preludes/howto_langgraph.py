from langchain_core.language_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage

workspace = open_workspace()
stack.enter_context(workspace.as_user("alice", scopes=["genie", "vector-search", "sql"]))


class Model(FakeMessagesListChatModel):
    def bind_tools(self, tools, **options):
        return self


CALL = {"name": "ask_sales", "args": {"question": "How many orders?"}, "id": "1", "type": "tool_call"}
model = Model(responses=[AIMessage("", tool_calls=[CALL]), AIMessage("Two.")])
