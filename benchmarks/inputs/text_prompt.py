"""The prompt of the text rows: words as long as English ones are."""

WORDS = 200


def prompt(count: int = WORDS) -> str:
    """`count` words."""
    return " ".join(("What", "is", "the", "capital", "of", "France")[n % 6] for n in range(count))
