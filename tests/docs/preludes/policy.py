import agent
from mlflow.types.responses import ResponsesAgentRequest

import obo_kit

workspace = open_workspace()
stack.enter_context(workspace.as_user("alice", scopes=["sql"]))
request = ResponsesAgentRequest(input=[{"role": "user", "content": "How many orders?"}])
agent = agent.Agent()
