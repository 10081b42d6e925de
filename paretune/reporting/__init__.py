"""What people read of a study: the report, the model card, tables."""
