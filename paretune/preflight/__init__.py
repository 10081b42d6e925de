"""What is checked before anything expensive runs."""
