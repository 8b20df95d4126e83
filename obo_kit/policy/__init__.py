"""What is declared, collected and written down."""
