"""Before anything leaves: weights compared with their manifest, and large ones taken out of the package."""

from __future__ import annotations

import os
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cogen.checkpoints.adapter import read_adapter
from cogen.checkpoints.facts import compare_config, config_facts, facts_of, first_mismatch
from cogen.checkpoints.finite import first_not_finite
from cogen.checkpoints.sources import without_network
from cogen.checkpoints.unchanged import changes_nothing
from cogen.conformance.at_home import PRIVATE, private_places
from cogen.errors import CogenError, CompatibilityError, DigestError, SpecError, UnsafeError
from cogen.files import atomic_write
from cogen.sharing.publishing.hub import local_weights
from cogen.spec.expert import ExpertSpec
from cogen.wheels.sizes import WEIGHTS_IN_WHEEL

#: Never copied: what version control, builds and earlier publishing left.
_LEFT_OUT = shutil.ignore_patterns(".git", "dist", "build", "__pycache__", "*.egg-info", ".cogen-publish-*")


def check_described(spec: ExpertSpec, folder: Path) -> None:
    """Weights that only this machine has are what the manifest says: format, relation, parameters, dtype, digest.

    :raises SpecError: they are not: nobody could use the release, and a version never changes.
    """
    local = local_weights(spec, folder)
    if local is None:
        return
    if (wrong := first_mismatch(spec.model, local)) is not None:
        raise SpecError(f"{spec.id}: {local.name}: {wrong.message}", hint=wrong.hint.replace("NAME", str(folder)))
    if spec.model.format != "gguf" and (tensor := first_not_finite(facts_of(local).tensors)) is not None:
        raise SpecError(
            f"{spec.id}: {tensor} of {local.name} holds NaN or infinity: nobody can use these weights",
            hint="take an earlier checkpoint, or train again with a lower learning rate",
        )


def check_trained(spec: ExpertSpec, folder: Path) -> None:
    """An adapter on this machine changes its base: what `cogen new` makes equals it until it is trained.

    :raises SpecError: every product of its factors is zero.
    """
    local = (local_weights(spec, folder) or _packed(spec, folder)) if spec.model.format == "peft" else None
    if local is not None and changes_nothing(read_adapter(local)):
        raise SpecError(
            f"{spec.id}: the adapter changes nothing: every product of its factors is zero, as before training",
            hint="train it first: cogen train recipe.toml",
        )


def check_base(spec: ExpertSpec, folder: Path, say: Callable[[str], None]) -> None:
    """Base and tokenizer are what the manifest says, and an adapter's factors fit the base, if the base is on this
    machine and the libraries that open it are installed; else a note says that they were not compared.

    :raises SpecError: they are not.
    """
    model = spec.model
    if model.base is None:
        return
    if find_spec("torch") is None or find_spec("transformers") is None:
        say(f'{spec.id}: its base was not compared: that needs pip install "cogen-core[fuse]"')
        return
    try:
        with without_network():
            say(f"comparing {spec.id} with its base {model.base.name}")
            wrong = _against_base(spec, folder)
    except (DigestError, CompatibilityError, UnsafeError) as error:
        raise SpecError(f"{spec.id}: {error.message}", hint=error.hint) from error
    except CogenError as error:
        say(f"{spec.id}: its base was not compared: {error.message}")
        return
    if wrong is not None:
        raise SpecError(
            f"{spec.id}: {wrong}", hint=f"`cogen check {folder} --fix` computes what the manifest has to say"
        )


def _against_base(spec: ExpertSpec, folder: Path) -> str | None:
    """What is wrong; ``None``: nothing."""
    from cogen.checkpoints.digests import tokenizer_digest
    from cogen.checkpoints.load import load_tokenizer
    from cogen.checkpoints.model import open_weights

    model = spec.model
    assert model.base is not None
    base = open_weights(model.base)
    if model.format == "peft":
        for mismatch in compare_config(model, *config_facts(base.config)):
            return mismatch.message
        local = local_weights(spec, folder) or _packed(spec, folder)
        if local is not None:
            base.with_adapter(read_adapter(local), "the adapter", model.base.name)
    if spec.tokenizer.source == model.base.source:
        tokenizer = load_tokenizer(base.folder)
        if (found := tokenizer_digest(tokenizer)) != spec.tokenizer.digest:
            return f"the tokenizer of the base has digest {found}; the manifest says {spec.tokenizer.digest}"
        if len(tokenizer) != spec.tokenizer.vocab_size:
            return f"the tokenizer of the base has {len(tokenizer):,} entries, not {spec.tokenizer.vocab_size:,}"
    return None


def _packed(spec: ExpertSpec, folder: Path) -> Path | None:
    """The folder of weights in the package of a source tree."""
    package, _, inside = spec.model.source.removeprefix("package://").partition("/")
    places = (folder / package / inside, folder / "src" / package / inside)
    return next((place for place in places if spec.model.source.startswith("package://") and place.is_dir()), None)


def too_large(folder: Path) -> list[tuple[Path, Path, int]]:
    """(expert.toml, folder of its weights in the package, bytes) where weights are too large for a wheel."""
    found = []
    for manifest in sorted([*folder.glob("*/expert.toml"), *folder.glob("src/*/expert.toml")]):
        source = _source(manifest)
        own = f"package://{manifest.parent.name}/"
        if source is None or not source.startswith(own):
            continue
        weights = manifest.parent / source.removeprefix(own)
        if weights.is_dir() and weights.resolve().is_relative_to(manifest.parent.resolve()):
            size = sum(file.stat().st_size for file in weights.rglob("*") if file.is_file())
            if size > WEIGHTS_IN_WHEEL:
                found.append((manifest, weights, size))
    return found


def set_apart(folder: Path, say: Callable[[str], None]) -> None:
    """Move weights that are too large for a wheel beside the package, where publishing uploads them from.

    :raises SpecError: something lies there already.
    """
    for manifest, weights, size in too_large(folder):
        target = folder / "weights" / manifest.parent.name
        if target.exists():
            raise SpecError(f"{target} is there already", hint="move it away: large weights of the package go there")
        target.parent.mkdir(exist_ok=True)
        weights.rename(target)
        _rewrite(manifest, f"file://{target.relative_to(folder).as_posix()}")
        say(
            f"{size:,} bytes of weights are too large for a wheel: moved to {target}; "
            f"they go to a repository, and {manifest.name} will name it"
        )


@contextmanager
def without_large(folder: Path, say: Callable[[str], None]) -> Iterator[Path]:
    """The tree as :func:`set_apart` would leave it, for a dry run: a copy, of links where the disk can.

    Private text is not copied: a run that is killed would leave it beside the project.
    """
    large = too_large(folder)
    if not large:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix=".cogen-publish-dry-", dir=folder.parent) as place:
        copy = Path(place) / folder.name
        shutil.copytree(folder, copy, ignore=_without_private(folder), copy_function=_link)
        for manifest in [*copy.glob("*/expert.toml"), *copy.glob("src/*/expert.toml")]:
            content = manifest.read_bytes()
            manifest.unlink()  # a link to the publisher's own
            manifest.write_bytes(content)
        set_apart(copy, lambda _: None)
        for _, weights, size in large:
            say(f"{size:,} bytes in {weights} are too large for a wheel: publishing will move them to a repository")
        yield copy


def _without_private(folder: Path) -> Callable[[str, list[str]], set[str]]:
    """What of a folder is not copied; a recipe that cannot be read leaves out the folders of `cogen new`."""
    try:
        private = set(private_places(folder))
    except CogenError:
        private = {(folder / name).resolve() for name in ("texts", PRIVATE)}

    def left_out(place: str, names: list[str]) -> set[str]:
        return {*_LEFT_OUT(place, names), *(name for name in names if Path(place, name).resolve() in private)}

    return left_out


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _source(manifest: Path) -> str | None:
    try:
        source = tomllib.loads(manifest.read_text(encoding="utf-8"))["model"]["source"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # what is wrong with it, the checks say
    return source if isinstance(source, str) else None


def _rewrite(manifest: Path, source: str) -> None:
    import tomlkit

    document: Any = tomlkit.parse(manifest.read_text(encoding="utf-8"))
    if document["tokenizer"].get("source") == document["model"]["source"]:
        document["tokenizer"]["source"] = source
    document["model"]["source"] = source
    atomic_write(manifest, tomlkit.dumps(document).encode())
