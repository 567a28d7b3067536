"""What every model has that finds things in frames: `motion` and `detector` are made of it.

Reading frames, working on a stream's frames in turn, batches, tracks, and the ONNX session.
"""
