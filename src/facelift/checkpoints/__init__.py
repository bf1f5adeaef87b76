"""Readers of checkpoints that others published. None executes what it reads."""
