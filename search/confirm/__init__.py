"""Measures the finalists again, until the pick is known."""
