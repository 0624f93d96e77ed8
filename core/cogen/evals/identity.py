"""What a model is, for the key of a cached result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogen.checkpoints.digests import file_digest
from cogen.spec.expert import canonical_digest

if TYPE_CHECKING:
    from cogen.checkpoints.model import Checkpoint

_NO_INFLUENCE = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")


def model_digest(checkpoint: Checkpoint, loaders: Sequence[str] = ()) -> str:
    """``sha256:…`` over the weights (an adapter's and its base's), the configuration and the generation settings.

    Two folders with equal tensors and configuration are the same model, wherever they lie.

    :param loaders: plugins that load the model in their own way (:func:`cogen.checkpoints.load.own_loaders`), if any.
    """
    import dataclasses

    generation = checkpoint.folder / "generation_config.json"
    return canonical_digest(
        {
            "weights": dataclasses.replace(checkpoint, adapter=None).weights_digest,
            # the folder, not the tensors alone: alpha and rank stand in its configuration
            "adapter": file_digest(checkpoint.adapter.folder) if checkpoint.adapter else None,
            "config": {name: value for name, value in checkpoint.config.items() if name not in _NO_INFLUENCE},
            "generation": file_digest(generation) if generation.is_file() else None,
        }
        | ({"loaders": list(loaders)} if loaders else {})
    )
