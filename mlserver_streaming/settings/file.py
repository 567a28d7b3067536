"""The file that the settings are in."""

import json
import os
import sys
from typing import Any

SETTINGS_FILE = "settings.json"


def settings_file(folder: str | None) -> dict[str, Any]:
    """What the settings file in a folder says, MLServer's part too; {} where there is none.

    Raises:
        SystemExit: it cannot be read, or is no JSON object.
    """
    path = os.path.join(folder or ".", SETTINGS_FILE)
    if not os.path.isfile(path):
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except OSError as error:
        sys.exit(f"{path} cannot be read: {error.strerror}.")
    except (ValueError, RecursionError) as error:
        sys.exit(f"{path} is no JSON: {error}.")
    if not isinstance(found, dict):
        sys.exit(f"{path} must hold a JSON object.")
    return found
