"""One search on disk: its identity, trials and results."""
