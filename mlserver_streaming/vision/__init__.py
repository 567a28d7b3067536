"""Pure functions on images and detections, for runtimes and clients.

JPEG, letterboxes, boxes, motion, on cv2 and numpy only. No model, no request, no stream: what
serves knows nothing of this room.
"""
