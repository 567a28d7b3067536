"""When, where and with what a run was made."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PACKAGES = (
    "mlserver",
    "grpcio",
    "uvicorn",
    "httptools",
    "uvloop",
    "starlette",
    "pydantic",
    "numpy",
    "orjson",
    "opencv-python-headless",
)


def describe() -> dict[str, str]:
    """The date, the machine and the versions, in words."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{_processor()}, {len(os.sched_getaffinity(0))} cores, "
        f"{platform.system()} {platform.release()}",
        "load before": f"{os.getloadavg()[0]:.2f}",
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
