"""Speech: where sound comes from, how it is sent (either protocol), how well it was heard."""
