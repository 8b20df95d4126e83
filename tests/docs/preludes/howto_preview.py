workspace = open_workspace()
runtime = stack.enter_context(workspace.as_model_serving())
