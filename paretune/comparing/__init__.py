"""`paretune compare`: models measured side by side."""
