"""Report to hooks and traces what each tool did."""
