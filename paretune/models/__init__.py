"""Models on disk: what they are, what their files name, and what cannot work."""
