"""Who asks: programs that a user runs, and classes to copy from; a folder for each task.

`sse_client`, `grpc_client`, `video_client`, `speech_client` and `demo` are commands. They share how
a server is reached (`server`, `http_model`, `grpc_model`), how errors are told (`errors`) and what
their flags mean (`command`). Of the service they know the protocol only.
"""
