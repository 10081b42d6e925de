"""Runtimes: each loads a packaged model and runs it."""
