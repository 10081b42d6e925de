"""Runs searches: one for each device that measures."""
