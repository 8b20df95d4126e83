"""Tell hooks and traces what a tool did."""
