"""Keep the session and the tool call of the running code."""
