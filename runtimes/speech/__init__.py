"""Speech: a recording, or a voice as it speaks, into words.

The model (`SpeechModel`), what it reads and answers, the engines that hear, and the processes and
pools that they work in. Sound itself is `mlserver_streaming.audio`'s.
"""

from .model import SpeechModel

__all__ = ["SpeechModel"]
