"""Real inputs that are no part of the project: the folder `shared/data` beside it."""

from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
BUS = DATA / "bus.jpg"
CAR_TRAFFIC = DATA / "car_traffic.mp4"
YOLOV8N = DATA / "models" / "yolov8n_int8.onnx"


def needs(*paths: Path) -> pytest.MarkDecorator:
    """Skip a test where one of these files is absent."""
    missing = [path for path in paths if not path.is_file()]
    names = ", ".join(path.name for path in missing)
    return pytest.mark.skipif(bool(missing), reason=f"shared/data lacks {names}")
