"""Metrics and benchmark protocols: predictions in, tables out."""
