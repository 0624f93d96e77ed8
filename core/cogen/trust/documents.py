"""A JSON document, signed: as canonical JSON in a folder that holds nothing else, under a name that says what it is.

The name is part of what is signed, so that a signature for one purpose is worth nothing for another.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cogen.trust.errors import TrustError
from cogen.trust.keys import Signer
from cogen.trust.signing import check_folder, sign_folder


def sign_document(
    document: Mapping[str, Any], name: str, signer: Signer, password: str | None = None
) -> dict[str, Any]:
    """The bundle of a signature over ``document``.

    :param name: of the file, such as "release.json". :raises TrustError: the key can't be used.
    """
    with _folder(document, name) as folder:
        return sign_folder(folder, signer, password)


def check_document(
    document: Mapping[str, Any], name: str, bundle: dict[str, Any], public_pem: str, what: str = "the document"
) -> None:
    """``document`` is exactly what the owner of this key, or this identity, signed under this name.

    :param what: the document, in an error. :raises TrustError: it isn't, or one of them can't be read.
    """
    with _folder(document, name) as folder:
        try:
            check_folder(folder, bundle, public_pem)
        except TrustError as error:
            if name in error.message:  # the digest of our own file says nothing to anybody
                raise TrustError(f"{what} is not the one that was signed", hint=error.hint) from error
            raise


@contextmanager
def _folder(document: Mapping[str, Any], name: str) -> Iterator[Path]:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    with tempfile.TemporaryDirectory(prefix="cogen-document-") as place:
        (Path(place) / name).write_text(text, encoding="utf-8")
        yield Path(place)
