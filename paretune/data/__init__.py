"""Data sets: read, checked, and turned into examples and tokens."""
