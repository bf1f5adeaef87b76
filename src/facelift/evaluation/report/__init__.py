"""The report of a scoring: plots and one HTML file."""
