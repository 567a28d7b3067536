"""What comes of it: tables, plots, the machine they are of."""
