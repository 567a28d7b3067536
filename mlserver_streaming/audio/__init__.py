"""Pure functions and small machines on sound, for runtimes: decoding, resampling, features, pauses.

Imports nothing else of this project. No model, no request, no stream, and no microphone.
"""
