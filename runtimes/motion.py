"""MotionModel: whatever moves before a camera that stands still. Needs no weights."""

import asyncio
from dataclasses import fields
from typing import Any

from mlserver_streaming.vision.detections import select
from mlserver_streaming.vision.jpeg import Image
from mlserver_streaming.vision.motion import Background, MotionSettings

from .detection.frames import Frame
from .detection.model import DetectionModel, Found, Memory


class MotionModel(DetectionModel):
    """Moving objects by background subtraction: see DetectionModel for what goes in and out.

    Each sequence, or each stream without sequences, has a background of its own, learnt from its
    frames in their order; a frame of another size begins a new one. The first frame finds nothing.
    A score is the share of its box that moves; the one class, 0, is `moving`.

    Settings beside those of DetectionModel: the fields of
    `mlserver_streaming.vision.motion.MotionSettings`.
    """

    labels = ("moving",)

    async def load(self) -> bool:
        found = {field.name: self.setting(field.name, None) for field in fields(MotionSettings)}
        self._motion = MotionSettings(
            **{name: value for name, value in found.items() if value is not None}
        )
        return await super().load()

    async def prepare(self, frame: Frame) -> Image:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, frame.image, self._max_pixels)

    def settle(self, frame: Frame, prepared: Any, memory: Memory) -> Found:
        if memory.model is None:
            memory.model = Background(self._motion)
        wishes = frame.wishes
        found = select(
            memory.model.update(prepared),
            confidence=wishes.confidence,
            iou=wishes.iou,
            classes=wishes.classes,
            max_detections=wishes.max_detections,
        )
        return Found(found, {})

    def tracked_score(self) -> float | None:
        # How much of a box moves does not say how sure it is that something does.
        return 1.0
