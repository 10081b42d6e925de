"""The artifact store: what passes built, kept by content."""
