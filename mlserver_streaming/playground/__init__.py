"""The page `/playground`: what this service does, tried in a browser.

It is files and nothing else. All that the page shows it asks for as any other client does, with the
key that its user types in.
"""

from .page_files import PageFiles
from .shown import is_shown

__all__ = ["PageFiles", "is_shown"]
