"""Who is told what a tool did."""
