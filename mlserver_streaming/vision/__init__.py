"""Pure functions on images and detections; cv2 and numpy only."""
