workspace = open_workspace()
