"""Weights in parts: large models as shards of half a gigabyte, each sent on its own, and none that is there already.

An upload that was cut off goes on with the first shard that is missing. To a registry, shards go one by one by the
Hub's own client over git-lfs, whose server says which it has; to the Hub by ``upload_folder``, which resumes by itself.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.files import OpenFiles
from cogen.checkpoints.safetensors_file import TensorInfo, read_folder
from cogen.checkpoints.safetensors_writer import SafetensorsWriter

if TYPE_CHECKING:
    from huggingface_hub import HfApi

#: Largest file of weights that is sent in one piece, in bytes: what an interruption costs at most.
PART = 512 << 20
_INDEX = "model.safetensors.index.json"


def split(stage: Path, most: int) -> int:
    """Exchange the weights in a staged folder for shards of at most ``most`` bytes, where a file is larger.

    Tensors keep their bytes, so the weights digest stays what it is. Adapters are one file by definition, and stay.
    The same weights give the same shards: a second run sends none again that the first one sent.

    :returns: how many files of weights there are.
    """
    old = sorted(stage.glob("*.safetensors"))
    if (stage / "adapter_config.json").is_file() or all(file.stat().st_size <= most for file in old):
        return len(old)
    tensors = read_folder(stage)
    shards = list(_shards(tensors, most))
    where: dict[str, str] = {}
    with OpenFiles() as files:
        for number, names in enumerate(shards, 1):
            # Under other names first: a model of several files may use these names for other shards.
            part = stage / f"{number}.part"
            shapes = {name: (tensors[name].dtype, tensors[name].shape) for name in names}
            with SafetensorsWriter(part, shapes, {"format": "pt"}) as writer:
                for name in names:
                    writer.copy(name, files, tensors[name])
        files.check_unchanged()
    for file in old:
        file.unlink()
    for number, names in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        (stage / f"{number}.part").rename(stage / name)
        where |= dict.fromkeys(names, name)
    size = sum(info.stop - info.start for info in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(where.items()))}
    (stage / _INDEX).unlink(missing_ok=True)  # it may be a link to the publisher's own
    (stage / _INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return len(shards)


def _shards(tensors: dict[str, TensorInfo], most: int) -> Iterator[list[str]]:
    """Names of each shard's tensors, in the order in which they lie on the disk."""
    shard: list[str] = []
    size = 0
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].file.name, item[1].start, item[0])):
        length = info.stop - info.start
        if shard and size + length > most:
            yield shard
            shard, size = [], 0
        shard.append(name)
        size += length
    yield shard


def send(api: HfApi, repository: str, stage: Path, message: str, note: Callable[[str], None]) -> str:
    """Upload a staged folder to a registry, file by file, and make one commit that holds exactly it.

    :returns: the commit's hash. Errors are those of huggingface_hub.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    files = {path.relative_to(stage).as_posix(): path for path in sorted(stage.rglob("*")) if path.is_file()}
    adds = {name: CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(path)) for name, path in files.items()}
    large = [name for name in files if name.endswith(".safetensors")]
    total = sum(files[name].stat().st_size for name in large)
    done = 0
    with _one_by_one():
        for number, name in enumerate(large, 1):
            done += files[name].stat().st_size
            api.preupload_lfs_files(repository, additions=[adds[name]], num_threads=1)
            if len(large) > 1:
                note(f"{number} of {len(large)} parts are there ({done:,} of {total:,} bytes)")
        there: list[str] = [name for name in api.list_repo_files(repository) if name not in (*files, ".gitattributes")]
        operations: list[Any] = [*adds.values(), *(CommitOperationDelete(path_in_repo=name) for name in there)]
        commit = api.create_commit(repository, operations=operations, commit_message=message)
    return str(commit.oid)


@contextmanager
def _one_by_one() -> Iterator[None]:
    """Inside, the Hub's client speaks git-lfs: Xet's sends everything again after an upload that was cut off, unless
    the server answers by chunks, which only the Hub does."""
    from huggingface_hub import constants

    before = constants.HF_HUB_DISABLE_XET
    constants.HF_HUB_DISABLE_XET = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # httpx's, of how that client hands it a file
            yield
    finally:
        constants.HF_HUB_DISABLE_XET = before
