"""Objects in video: sources, the stream of detections, and what is written of them."""
