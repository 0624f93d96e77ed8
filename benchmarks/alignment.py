"""How fast two tokenizations of one text are aligned by bytes, on one thread, and that every byte is aligned.

    python benchmarks/alignment.py --json alignment.json
    python benchmarks/alignment.py --tokenizers qwen3/tokenizer.json llama2/tokenizer.json gemma3/tokenizer.json

The text is the doc strings of Python's standard library. Without --tokenizers, three are trained on it first:
byte-level BPE, the same behind NFC, and SentencePiece's kind of BPE with bytes for unknown letters.

A row a pair, in MB of text a second: "tokenize" both sides without knowing where tokens end; "ends" of both sides from
their tokens; "align" alone; "ends + align", of which at least 1 is asked; "all": from texts to chunks. "share": of all
time, what ends and alignment take. "offsets": texts whose tokens' own bytes are not the text, so that character
offsets were needed; where that is all of them, as with BERT's, nothing is asked of the pair.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import json
import os
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ |= {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

LEAST = 1.0
RUNS = 3


def docstrings(limit: int) -> list[str]:
    """Long doc strings of the standard library, up to ``limit`` bytes in all."""
    found: list[str] = []
    size = 0
    for file in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        if "site-packages" in file.parts or "test" in file.parts:
            continue
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (SyntaxError, ValueError):
            continue
        for text in _strings(tree):
            found.append(text)
            size += len(text.encode())
            if size > limit:
                return found
    return found


def _strings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            text = ast.get_docstring(node) or ""
            if len(text) > 300:
                yield text


def trained(texts: list[str]) -> dict[str, Any]:
    """Three tokenizers of 4,000 entries."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    made: dict[str, Any] = {}
    for name in ("byte-level", "byte-level, NFC", "SentencePiece"):
        pieces = name == "SentencePiece"
        backend = Tokenizer(models.BPE(byte_fallback=pieces))
        special = ["<|endoftext|>"]
        if pieces:
            backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
            backend.decoder = decoders.Metaspace(prepend_scheme="first")
        else:
            backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
            backend.decoder = decoders.ByteLevel()
        if "NFC" in name:
            backend.normalizer = normalizers.NFC()
        size = 4000 - 1000 * len(made)
        alphabet = [] if pieces else pre_tokenizers.ByteLevel.alphabet()
        backend.train_from_iterator(
            texts[:300],
            trainers.BpeTrainer(
                vocab_size=size,
                special_tokens=special,
                initial_alphabet=alphabet,
                limit_alphabet=256,
                show_progress=False,
            ),
        )
        if pieces:
            backend = _with_bytes(backend)
        made[name] = _fast(backend)
    return made


def _with_bytes(backend: Any) -> Any:
    """Bytes as tokens of the model, as SentencePiece has them: no text is cut at them."""
    from tokenizers import Tokenizer

    state = json.loads(backend.to_str())
    vocabulary = state["model"]["vocab"]
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    return Tokenizer.from_str(json.dumps(state))


def _fast(backend: Any) -> Any:
    from transformers import PreTrainedTokenizerFast

    vocabulary = backend.get_vocab(with_added_tokens=True)
    known = ("<|endoftext|>", "<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>", "[CLS]")
    first = next((token for token in known if token in vocabulary), None)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=first or min(vocabulary, key=vocabulary.__getitem__)
    )


def seconds(work: Callable[[], object]) -> float:
    """The least of three runs."""
    found = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found)


class Side:
    """One tokenizer over all texts, and what its steps cost."""

    def __init__(self, tokenizer: Any, texts: list[str]) -> None:
        from cogen.fusion.distill.alignment.encode import Encoder
        from cogen.fusion.distill.texts import Item

        self.encoder = encoder = Encoder(tokenizer)
        items = [Item(text) for text in texts]
        self.encoded = encoder.encode(items, sys.maxsize)
        ids = [one.ids[one.start : one.stop].tolist() for one in self.encoded]
        self.tokens = sum(map(len, ids))
        self.tokenize = seconds(lambda: encoder._tokens(texts))
        self.ends = seconds(lambda: [encoder._ends(text, one) for text, one in zip(texts, ids, strict=True)])
        self.all = seconds(lambda: encoder.encode(items, sys.maxsize))
        self.offsets = sum(
            b"".join(encoder._spelled[id] for id in one).removeprefix(b" ") != text.encode().removeprefix(b" ")
            for text, one in zip(texts, ids, strict=True)
        )


def compare(a: Side, b: Side, texts: list[str]) -> dict[str, float | int]:
    """Figures of a pair, and whether every text was aligned up to its last byte."""
    from cogen.fusion.distill.alignment.align import align

    pairs = [(one.ends, two.ends) for one, two in zip(a.encoded, b.encoded, strict=True)]
    found = [align(*pair) for pair in pairs]
    size = sum(len(text.encode()) for text in texts) / 1e6
    aligning = seconds(lambda: [align(*pair) for pair in pairs])
    whole = sum(len(one.end) > 0 and one.end[-1] == len(text.encode()) for one, text in zip(found, texts, strict=True))
    return {
        "chunks": sum(len(one.end) for one in found),
        "tokens_a": a.tokens,
        "tokens_b": b.tokens,
        "offsets": a.offsets + b.offsets,
        "not_to_the_end": len(texts) - whole,
        "tokenize": size / (a.tokenize + b.tokenize),
        "ends": size / (a.ends + b.ends),
        "align": size / aligning,
        "ends_and_align": size / (a.ends + b.ends + aligning),
        "all": size / (a.all + b.all + aligning),
        "share": (a.ends + b.ends + aligning) / (a.all + b.all + aligning),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizers", type=Path, nargs="+", help="files tokenizer.json of real models")
    parser.add_argument("--bytes", type=int, default=1_000_000, help="of text, about")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    texts = docstrings(options.bytes)
    if options.tokenizers:
        from tokenizers import Tokenizer

        made = {str(file): _fast(Tokenizer.from_file(str(file))) for file in options.tokenizers}
    else:
        made = trained(texts)
    sides = {name: Side(tokenizer, texts) for name, tokenizer in made.items()}
    print(f"{len(texts)} texts, {sum(len(text.encode()) for text in texts) / 1e6:.2f} MB")
    rows = {}
    for one, two in itertools.combinations(sides, 2):
        row = rows[f"{one} | {two}"] = compare(sides[one], sides[two], texts)
        print(f"{one} | {two}")
        print(
            f"  {row['chunks']} chunks of {row['tokens_a']} and {row['tokens_b']} tokens, offsets {row['offsets']}, "
            f"not to the end {row['not_to_the_end']}\n"
            f"  MB/s: tokenize {row['tokenize']:.2f}, ends {row['ends']:.1f}, align {row['align']:.1f}, "
            f"ends + align {row['ends_and_align']:.1f}, all {row['all']:.2f}; share {row['share']:.0%}"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    # A tokenizer that changes every text (BERT's) is read a second time for its offsets.
    exact = {name: row for name, row in rows.items() if row["offsets"] < len(texts)}
    bad = [name for name, row in exact.items() if row["ends_and_align"] < LEAST or row["not_to_the_end"]]
    for name in bad:
        print(f"FAIL: {name}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
