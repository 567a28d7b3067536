"""Speech: where sound comes from, how it is sent, and how well it was heard."""
