"""Ask-and-tell strategies: which candidate to try next."""
