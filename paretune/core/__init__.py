"""Values that every part shares; imports nothing else of paretune."""
