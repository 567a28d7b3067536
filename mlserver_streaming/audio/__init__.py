"""Pure functions and small machines on sound; imports nothing of this project."""
