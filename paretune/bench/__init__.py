"""`paretune bench`: the figures of a device or a model."""
