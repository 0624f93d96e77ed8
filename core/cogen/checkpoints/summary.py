"""`cogen digest`: everything that a manifest says of weights, computed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from cogen.checkpoints.describe import GGUF_DTYPE, whole_folder
from cogen.checkpoints.digests import file_digest
from cogen.checkpoints.facts import digest_of, facts_of
from cogen.checkpoints.locate import locate
from cogen.errors import SourceError
from cogen.extras import require
from cogen.reporter import SILENT, Reporter


@dataclass(frozen=True)
class Digests:
    """Of one model or adapter. ``relation``: of adapters. Tokenizer fields: ``None`` where there is no tokenizer, or
    the libraries that read one are not installed (``note`` says so)."""

    source: str
    revision: str | None
    format: str
    dtype: str
    file_digest: str
    weights_digest: str
    parameters: int
    bytes: int
    relation: str | None
    architecture: str | None
    context_length: int | None
    tokenizer_digest: str | None
    vocab_size: int | None
    note: str | None = None


def summarise(source: str, reporter: Reporter = SILENT) -> Digests:
    """Find, open and hash what ``source`` names: a folder, a GGUF file or a URI.

    :raises SourceError, UnsafeError, CompatibilityError: see :func:`cogen.checkpoints.facts.facts_of`.
    """
    found = locate(source, reporter=reporter)
    if found.format == "gguf":
        require("fuse", "the weights digest of a GGUF file")
    folder = found.path if found.format == "peft" else whole_folder(found, reporter)
    facts = facts_of(folder)
    reporter.note(f"reading {facts.bytes:,} bytes")
    digest = size = note = None
    if any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")):
        if find_spec("transformers") is None:
            note = 'the tokenizer was not read: pip install "cogen-core[fuse]"'
        else:
            from cogen.checkpoints.digests import tokenizer_digest
            from cogen.checkpoints.load import load_tokenizer

            try:
                tokenizer = load_tokenizer(folder)
                digest, size = tokenizer_digest(tokenizer), len(tokenizer)
            except SourceError as error:
                note = f"the tokenizer was not read: {error.message}"
    return Digests(
        source=found.source,
        revision=found.revision,
        format=found.format,
        dtype=GGUF_DTYPE if found.format == "gguf" else facts.dtype,
        file_digest=file_digest(found.path),
        weights_digest=digest_of(facts.tensors),
        parameters=facts.parameters,
        bytes=facts.bytes,
        relation=facts.relation,
        architecture=facts.architecture,
        context_length=facts.context_length,
        tokenizer_digest=digest,
        vocab_size=size,
        note=note,
    )
