"""Readers of public data sets, one file a set; each yields the one sample type."""
