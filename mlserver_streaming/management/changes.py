"""Who may change what holds of the whole service."""

from ..access.callers import ADMIN, current, require
from ..errors import ForbiddenError


def require_service_admin() -> None:
    """Refuse a caller who is no admin of the whole service.

    Raises:
        ForbiddenError
    """
    require(ADMIN)
    caller = current()
    if caller.models is not None:
        raise ForbiddenError(
            f"'{caller.name}' may use its models only, not change the service's settings."
        )
