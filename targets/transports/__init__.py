"""Transports: how files reach the machine that measures."""
