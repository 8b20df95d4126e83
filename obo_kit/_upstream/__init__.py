"""What is known of other people's packages by name."""
