"""What a device is: facts, measured profile, environment."""
