"""Language: messages or a prompt in, text out, piece by piece.

The model (`LanguageModel`), what it reads (generation), the engines that write, and how many
streams they work at (slots). What OpenAI's wire looks like is not known here.
"""

from .model import LanguageModel

__all__ = ["LanguageModel"]
