"""What is compared: a file a kind of work, each row with its targets."""
