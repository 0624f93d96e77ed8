"""Text into vectors: a sentence-transformers model that is loaded behind the service's back."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.extras import missing_extra

if TYPE_CHECKING:
    import numpy as np

#: Vectors of queries that are kept.
_QUERIES = 1024


class Embedder:
    """``ready`` once :meth:`load` came back; until then, and for ever where it failed, ``note`` says why not.

    :param source: a source URI (``URI#sha256:…`` pins it), a folder, or "none".
    """

    def __init__(self, source: str) -> None:
        self.source = source
        self.ready = False
        self.note: str | None = (
            "semantic search is disabled" if source == "none" else "the embedding model for semantic search is loading"
        )
        #: Digest of the model's folder: vectors of another model say nothing.
        self.identity = ""
        self._model: Any = None
        self._busy = threading.Lock()
        self._queries: OrderedDict[str, np.ndarray] = OrderedDict()

    @property
    def wanted(self) -> bool:
        return self.source != "none"

    def load(self) -> bool:
        """Fetch the model and put it together: seconds, and hundreds of MB. What fails is said in ``note``."""
        import logging

        try:
            self.identity, self._model = _open(self.source)
            self._encode(["ready"])  # the first one is slow
            self.ready, self.note = True, None
        except Exception as error:  # noqa: BLE001 - whatever torch and friends raise: full text goes on without them
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            if missing_extra(error, "it"):
                reason = 'pip install "cogen-core[search]"'
            self.note = f"semantic search is not available: {reason}"
            logging.getLogger("cogen_registry").warning("%s", self.note)
        return self.ready

    def query(self, text: str) -> np.ndarray:
        """Shape (dimensions,); kept, so that the second page costs nothing."""
        with self._busy:
            if (known := self._queries.get(text)) is not None:
                self._queries.move_to_end(text)
                return known
            vector: np.ndarray = self._encode([text])[0]
            self._queries[text] = vector
            if len(self._queries) > _QUERIES:
                self._queries.popitem(last=False)
            return vector

    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Shape (texts, dimensions), float32, rows of unit length."""
        with self._busy:
            return self._encode(texts)

    def _encode(self, texts: Sequence[str]) -> np.ndarray:
        found: np.ndarray = self._model.encode(list(texts)).numpy()
        return found


def _open(source: str) -> tuple[str, Any]:
    """(digest of the folder, model)."""
    from cogen.checkpoints.digests import file_digest
    from cogen.checkpoints.sources import fetch
    from cogen.routing.embedder import Embedder as Model

    uri, _, digest = source.partition("#")
    if "://" not in uri:
        uri = Path(uri).expanduser().resolve().as_uri()
    model = Model(uri, digest or None)
    folder = fetch(model.source, digest=model.digest)
    _ = model.model
    return model.digest or file_digest(folder), model
