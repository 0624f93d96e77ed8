"""The files that a plugin ships: their digests, licenses and kinds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from cogen.checkpoints.digests import file_digest
from cogen.checkpoints.safetensors_file import TensorInfo, read_header, read_notes
from cogen.conformance.result import Failed
from cogen.evals.samples import read_samples
from cogen.forge.corpus import PERMISSIVE
from cogen.host import Expert
from cogen.spec.suite import SAMPLES_LIMIT

_PERMISSIVE = {name.lower() for name in PERMISSIVE} | {"licenseref-us-public-domain", "cc-pddc", "mit-0"}
_RETRAIN = "publish the file that `cogen train` writes in mode anchored"
FLOATS = ("float32", "float16", "bfloat16", "float64")
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy")


def promised(expert: Expert) -> Iterator[tuple[str, str]]:
    """(path inside the package, digest) of every file or folder that the manifest pins."""
    spec = expert.spec
    for suite in spec.suites:
        yield from ((part.path, part.digest) for part in (suite.dev, suite.test))
    if spec.statistics:
        for file in (spec.statistics.token_counts, spec.statistics.states, spec.statistics.embedding):
            if file is not None:
                yield file.path, file.digest
    if spec.samples:
        yield spec.samples.path or spec.samples.embedding or "", spec.samples.digest
    own = f"package://{expert.root.name}/"
    for part in (spec.model, spec.router):
        if part is not None and part.source.startswith(own):
            yield part.source.removeprefix(own), part.file_digest


def check_digests(expert: Expert) -> str:
    count = 0
    for path, digest in promised(expert):
        found = file_digest(expert.root / path)
        if found != digest:
            raise Failed(
                f"{path} has digest {found}, {digest} was promised",
                "write the new digest into expert.toml if you changed the file on purpose",
            )
        count += 1
    files = "1 file or folder is" if count == 1 else f"{count} files and folders are"
    return f"{files} what the manifest promises"


def router_rows(expert: Expert) -> TensorInfo:
    """The one tensor of the router's file: floating point, two axes.

    :raises Failed: the file holds something else. :raises SourceError: it is damaged.
    """
    router = expert.spec.router
    assert router is not None
    own = f"package://{expert.root.name}/"
    if not router.source.startswith(own):
        raise Failed(
            f"[router] source is {router.source}, not a file of this package", f"write {own}router.safetensors"
        )
    tensors = read_header(expert.root / router.source.removeprefix(own))
    if list(tensors) != ["rows"]:
        raise Failed(f"it holds {', '.join(sorted(tensors)) or 'nothing'}, not one tensor `rows`", _RETRAIN)
    rows = tensors["rows"]
    if rows.dtype not in FLOATS or len(rows.shape) != 2:
        raise Failed(f"`rows` is {rows.dtype} of shape {rows.shape}, not floats of shape (layers, hidden)", _RETRAIN)
    return rows


def check_router(expert: Expert) -> str:
    layers, hidden = router_rows(expert).shape
    return f"{layers} rows of {hidden} elements"


def no_pickles(expert: Expert) -> str:
    for path in sorted(expert.root.rglob("*")):
        if path.suffix in PICKLES:
            raise Failed(
                f"{path.relative_to(expert.root)} can hold a pickle, which runs code when it is read",
                "publish safetensors, or GGUF",
            )
    return "none"


def check_licenses_shipped(expert: Expert) -> str:
    spec = expert.spec
    texts = [
        (f"{s.id}, {name}", part.license) for s in spec.suites for name, part in (("dev", s.dev), ("test", s.test))
    ]
    if spec.samples:
        texts.append(("samples", spec.samples.license))
    for what, license in texts:
        if not is_permissive(license):
            raise Failed(
                f"the text of {what} is under {license}, which does not let anybody redistribute it",
                "ship text that is public domain, CC0, CC-BY, MIT, BSD or Apache-2.0",
            )
    return ", ".join(sorted({license for _, license in texts})) or "no text is shipped"


def is_permissive(expression: str) -> bool:
    """Whether an SPDX expression allows redistribution: all of an AND, one of an OR."""
    if "(" not in expression and " OR " in expression:
        return any(is_permissive(part) for part in expression.split(" OR "))
    names = re.findall(r"[A-Za-z0-9.+-]+", re.sub(r" WITH [A-Za-z0-9.-]+", "", expression))
    return all(name.lower() in _PERMISSIVE for name in names if name not in ("AND", "OR"))


def check_samples(expert: Expert) -> str:
    samples = expert.spec.samples
    if samples is None:
        return "none; routing and calibration will have to do without"
    path: Path = expert.root / (samples.path or samples.embedding or "")
    if samples.embedding is not None:
        _check_embedding(path)
    size = path.stat().st_size
    if size > SAMPLES_LIMIT:
        raise Failed(f"{path.name} has {size:,} bytes, at most {SAMPLES_LIMIT:,} are allowed", "ship fewer documents")
    if samples.path is not None:
        read_samples(path, expert.id)
    return f"{size:,} of {SAMPLES_LIMIT:,} bytes"


def _check_embedding(path: Path) -> None:
    """Numbers in the place of text are one vector, and hold no text."""
    tensors = list(read_header(path).values())
    if [(one.dtype in FLOATS, len(one.shape)) for one in tensors] != [(True, 1)]:
        held = ", ".join(f"{one.name} ({one.dtype} of shape {one.shape})" for one in tensors) or "nothing"
        raise Failed(f"{path.name} holds {held}, not one tensor of floats of one axis", "ship a mean embedding")
    check_no_notes(path, path.name)


def check_no_notes(path: Path, name: str) -> None:
    """Files of numbers that stand in the place of text hold no text of their own.

    :raises Failed: names what the header says. :raises SourceError: it is damaged.
    """
    notes = sorted(read_notes(path).keys() - {"format"})
    if notes:
        raise Failed(f"{name} holds text in its header: {', '.join(notes)[:80]}", "write the file without metadata")
