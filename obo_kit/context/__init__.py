"""What is in force around running code."""
