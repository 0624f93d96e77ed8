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
#: Least cosine of an expert that shares no word with the query. With MiniLM and the five reference experts, "tumour
#: staging" is 0.16 from the clinical one; of "football results", "cooking", "tax" and "contract law" none is over 0.15.
FLOOR = 0.15
#: Subjects that have nothing to do with each other. The cosines of other models lie elsewhere (of multilingual-e5
#: between 0.73 and 0.87): there, the floor is one standard deviation above the mean of these.
_UNRELATED = (
    "a recipe for apple cake",
    "the rules of football",
    "symptoms of pneumonia",
    "a history of the Roman empire",
    "how to repair a bicycle",
    "interest rates of banks",
    "learning to play the piano",
    "planets of the solar system",
    "the grammar of Latin",
    "wedding photography",
    "growing tomatoes in a garden",
    "buying a used car",
)
#: A model for which they are all one knows none of their words.
_SAME = 0.95


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
        #: Least cosine that counts, see :data:`FLOOR`.
        self.floor = FLOOR
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
            self.floor = self._measured_floor()
            self.ready, self.note = True, None
        except Exception as error:  # noqa: BLE001 - whatever torch and friends raise: full text goes on without them
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            if missing_extra(error, "it"):
                reason = 'pip install "cogen-core[search]"'
            self.note = f"semantic search is not available: {reason}"
            logging.getLogger("cogen_registry").warning("%s", self.note)
        return self.ready

    def unread(self, texts: Sequence[str]) -> float:
        """Share of the texts' letters that the model's tokenizer has no pieces for; 0 where that cannot be seen."""
        from cogen.errors import SourceError

        try:
            found: float = self._model.reading(texts).unread_share
        except SourceError:
            return 0.0
        return found

    def reads(self, text: str) -> bool:
        """Does the model know the language of a query? Vectors of unknown pieces are noise."""
        from cogen.routing.reading import UNREAD

        return self.unread([text]) <= UNREAD

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

    def _measured_floor(self) -> float:
        import numpy as np

        from cogen.routing.embedder import DEFAULT

        if self._model.source == DEFAULT:
            return FLOOR
        vectors = self._encode(_UNRELATED)
        cosines = (vectors @ vectors.T)[np.triu_indices(len(vectors), 1)]
        found = float(cosines.mean() + cosines.std())
        return found if found < _SAME else FLOOR

    def _encode(self, texts: Sequence[str]) -> np.ndarray:
        found: np.ndarray = self._model.encode(list(texts)).numpy()
        return found


def _open(source: str) -> tuple[str, Any]:
    """(digest of the folder, model)."""
    from cogen.checkpoints.digests import file_digest
    from cogen.checkpoints.sources import fetch
    from cogen.routing import counts
    from cogen.routing.embedder import EMBEDDERS
    from cogen.routing.embedder import Embedder as Model

    uri, _, digest = source.partition("#")
    if "://" not in uri and uri not in EMBEDDERS:
        uri = Path(uri).expanduser().resolve().as_uri()
    model = Model(uri, digest or None)
    if model.source == counts.SOURCE:
        raise ValueError("counts of characters are for routing, and full text compares characters already")
    folder = fetch(model.source, digest=model.digest)
    _ = model.model
    return model.digest or file_digest(folder), model
