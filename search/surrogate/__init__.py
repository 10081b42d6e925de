"""Models of what a search has seen: they forecast metrics and costs of candidates not tried yet."""
