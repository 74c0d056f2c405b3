"""Measurements of this machine: how fast mixers run, and what they recall. No test, no promise."""
