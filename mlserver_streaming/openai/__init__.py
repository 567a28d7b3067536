"""OpenAI's routes: a codec before the data plane, so that an OpenAI client can ask any model here.

Bytes become `InferenceRequest`s, responses become OpenAI's chunks. It knows no engine, keeps no
conversation and counts no token: what a model does not say is not said.
"""

from .dialect import OpenAIDialect

__all__ = ["OpenAIDialect"]
