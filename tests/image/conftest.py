"""The image as `make image` built it: `make image-test`."""

from __future__ import annotations

import os

# It takes an image: not of `make test`.
if "IMAGE_TEST" not in os.environ:
    collect_ignore_glob = ["test_*.py"]
