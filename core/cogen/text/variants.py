"""Traditional and simplified Chinese as one: what copies are compared by, where a recipe asks for it.

Which characters stand for each other needs a dictionary: that of OpenCC (``TSCharacters``), by the extra "chinese". It
is pinned by its digest, so that what a recipe gives does not depend on the version that is installed. Both texts are
brought to simplified characters one by one; different words of Taiwan and the mainland stay different.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from cogen.errors import MissingExtraError

_DISTRIBUTION, _FILE = "opencc-python-reimplemented", "opencc/dictionary/TSCharacters.txt"
_SHA256 = "6b5a0a799bea2bb22c001f635eaa3fc2904310f0c08addbff275477a80ecf09a"


def simplified(text: str) -> str:
    """The text with every traditional character as its simplified one; never what is trained on.

    :raises MissingExtraError: the dictionary is not installed.
    """
    return text if text.isascii() else text.translate(_table())


@cache
def _table() -> dict[int, str]:
    """A character with several simplified forms has the first, as OpenCC does; the same for both texts."""
    try:
        content = Path(str(distribution(_DISTRIBUTION).locate_file(_FILE))).read_bytes()
    except (PackageNotFoundError, OSError):
        content = b""
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise MissingExtraError(
            f"fold_chinese = true needs the dictionary of {_DISTRIBUTION} 0.1.7",
            hint='pip install "cogen-core[chinese]", or write fold_chinese = false: copies in the other characters are '
            "then not found",
        )
    rows = (line.split("\t") for line in content.decode().splitlines() if "\t" in line)
    return {ord(traditional): forms.split()[0] for traditional, forms in rows if len(traditional) == 1}
