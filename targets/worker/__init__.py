"""All that runs in a worker's process."""
