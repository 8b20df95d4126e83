"""Ask a real workspace what the kit claims of it, and change nothing there."""
