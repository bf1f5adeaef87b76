"""Metrics, prediction files, tables and reports."""
