"""What is wrong with a sound that somebody sent."""


class AudioError(ValueError):
    """The sound cannot be used; the text is one sentence for whoever sent it."""


class TooLongError(AudioError):
    """It holds more audio than is taken at once."""
