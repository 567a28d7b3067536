"""The clients that load a contender, check every answer, and count."""
