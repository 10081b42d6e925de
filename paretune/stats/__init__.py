"""Statistics of measurements: pure functions over numbers."""
