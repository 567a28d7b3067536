"""OpenAI's Realtime API for transcription, over a WebSocket: sound in, the words in it out as one
speaks. vLLM's shorter dialect of it too.

No conversations: nothing is said here. Where one speaks is the model's to find, not this room's.
"""

from .endpoint import RealtimeEndpoint

__all__ = ["RealtimeEndpoint"]
