"""The environment's variables that are settings."""

import os
import re
import sys
from collections.abc import Iterable

PREFIX = "STREAMING_"
NESTED = "__"
# What Kubernetes tells a container of a Service whose name begins with `streaming`.
# https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
KUBERNETES = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)$|_PORT(_\d+_(TCP|UDP|SCTP)(_\w+)?)?$")


def refuse_unknown_variables(fields: Iterable[str]) -> None:
    """One underscore for two, and a service that should have keys would start without.

    What stands behind a block's name and two underscores is looked at with the block.
    """
    known = {name.upper() for name in fields}
    for variable in sorted(os.environ):
        name = variable.upper()
        if not name.startswith(PREFIX) or KUBERNETES.search(name):
            continue
        if name[len(PREFIX) :].partition(NESTED)[0] not in known:
            sys.exit(
                f"No setting belongs to the environment variable {variable}; docs/settings.md has "
                "them all (a block's settings stand behind two underscores)."
            )
