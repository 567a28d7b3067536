"""Objects in video: sources, the stream of detections, and what is written of them.

Frames that come back as pictures are `jpeg_stream`'s, which is to be copied alone.
"""
