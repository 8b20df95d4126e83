workspace = open_workspace()
stack.enter_context(workspace.as_notebook("bob"))
host, token = workspace.host, workspace.token("alice")
