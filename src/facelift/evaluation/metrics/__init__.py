"""One metric a file: its equation, its source, arrays in, arrays out."""
