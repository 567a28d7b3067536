"""Mutated input for a real service, over every wire: `make fuzz SECONDS=120`.

mutations (pure: bytes from bytes) -> cases (what is sent, by number) -> wires (how)
verdicts (what may be answered)   __main__ (the run)
"""
