"""What is printed: rows of measured and published numbers with their intervals."""
