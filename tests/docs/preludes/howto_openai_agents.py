import agents

workspace = open_workspace()
stack.enter_context(workspace.as_user("alice", scopes=["sql", "genie"]))
agents.set_tracing_disabled(True)
model = "none"
