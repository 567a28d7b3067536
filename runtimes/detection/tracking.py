"""Follow objects from frame to frame: ByteTrack, of the library trackforge.

ByteTrack: Zhang et al., 2022, https://arxiv.org/abs/2110.06864
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlserver_streaming.extras import MissingExtraError, needed_by
from mlserver_streaming.models.errors import MLServerError
from mlserver_streaming.vision.detections import Detections

UNTRACKED = -1


class Tracker:
    """The tracks of one camera. Feed it every frame's detections in order, also none."""

    def __init__(self, confidence: float, buffer: int = 30):
        """
        Args:
            confidence: a detection that scores more may begin a track.
            buffer: frames for which a track that is out of sight is remembered.

        Raises:
            MLServerError: the library is not installed.
        """
        try:
            with needed_by("Tracking", "video"):
                from trackforge import BYTETRACK
        except MissingExtraError as error:
            raise MLServerError(str(error), 501) from error
        self._tracks: Any = BYTETRACK(
            track_thresh=confidence, det_thresh=confidence, track_buffer=buffer
        )

    def update(self, found: Detections, score: float | None = None) -> NDArray[np.int64]:
        """The track of each detection, [n]; UNTRACKED for one that is not yet sure.

        Args:
            score: in place of every detection's own, where those do not say how sure it is.
        """
        scores = found.scores if score is None else np.full(len(found), score)
        seen = [
            (
                [float(left), float(top), float(right - left), float(bottom - top)],
                float(sure),
                int(number),
            )
            for (left, top, right, bottom), sure, number in zip(
                found.boxes, scores, found.classes, strict=True
            )
        ]
        ids = np.full(len(found), UNTRACKED, np.int64)
        for track_id, _, _, _, index in self._tracks.update(seen):
            if index is not None:
                ids[index] = track_id
        return ids
