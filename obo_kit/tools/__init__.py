"""The decorators, and the tools that they make."""
