"""The optional parts of the distribution: which libraries each extra brings, and one error for all that are missing.

``pip install cogen-core`` is the host: it finds, checks, publishes and verifies experts. What builds, measures and
trains models comes with ``cogen-core[fuse]``. A verb or an API function that needs it says so before it does anything
(:func:`require`); an import that fails deeper inside becomes the same error (:func:`missing_extra`).
"""

from __future__ import annotations

from importlib.util import find_spec

from cogen.errors import MissingExtraError

#: Extra of pyproject.toml → the modules that it brings, the ones that a message names first.
EXTRAS: dict[str, tuple[str, ...]] = {
    "registry": ("fastapi", "sqlalchemy", "alembic", "uvicorn", "jwt", "lz4", "python_multipart", "simple_repository"),
    "s3": ("boto3", "botocore"),
    "postgresql": ("psycopg",),
    "fuse": (
        *("torch", "transformers", "lm_eval", "numpy", "scipy", "peft", "accelerate", "gguf", "optuna", "psutil"),
        *("pypi_simple", "sentence_transformers", "sklearn", "tokenizers", "safetensors"),
    ),
    "tokenizers": ("sentencepiece", "tiktoken", "google"),
    "documents": ("pypdfium2", "docx", "pyarrow"),
    "chinese": ("opencc",),
    "privacy": ("opacus", "phonenumbers", "stdnum"),
    "export-fp8": ("compressed_tensors",),
    "export-gguf": ("cyllama", "llama_cpp", "sentencepiece"),
    "export-onnx": ("onnxruntime_genai", "onnxruntime", "onnx", "onnx_ir"),
    "serve": ("fastapi", "httpx", "openai", "uvicorn"),
    "search": ("sentence_transformers", "torch", "transformers"),
}


def require(extra: str, what: str) -> None:
    """Say at once that ``what`` cannot be done here; looks for the libraries without importing them.

    :param extra: a key of :data:`EXTRAS`.
    :param what: who asks, such as "cogen fuse".
    :raises MissingExtraError: a library of the extra is not installed.
    """
    if missing := [name for name in EXTRAS[extra] if find_spec(name) is None]:
        raise _error(extra, what, missing)


def missing_extra(error: BaseException, what: str) -> MissingExtraError | None:
    """The error to raise in the place of a failed import, where an extra brings the module that is not there.

    ``None`` for everything else: a module of no extra, or one that is installed and fails inside, is a bug to be seen.
    """
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    module = error.name.partition(".")[0]
    if find_spec(module) is not None:
        return None
    extra = next((extra for extra, modules in EXTRAS.items() if module in modules), None)
    return _error(extra, what, [module]) if extra else None


def _error(extra: str, what: str, missing: list[str]) -> MissingExtraError:
    names = missing[0] if len(missing) == 1 else " and ".join(missing[:2])
    return MissingExtraError(f"{what} needs {names}", hint=f'pip install "cogen-core[{extra}]"')
