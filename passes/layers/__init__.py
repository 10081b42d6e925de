"""The pass that drops decoder layers."""
