"""How a request goes out."""
