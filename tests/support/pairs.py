"""A student's logits beside what a teacher said, made by hand."""

from __future__ import annotations

from typing import Any


def made_pair(
    vocabulary: int,
    *,
    seed: int = 0,
    chunks: int = 12,
    texts: int = 3,
    k: int = 7,
    dtype: Any = None,
    like: bool = False,
) -> tuple[Any, Any]:
    """Logits, shape (N, V), and a pair: chunks of one to three tokens in several texts, a row between two texts.

    :param like: the teacher is the student, token by token.
    """
    import torch

    from cogen.fusion.distill.losses.loss import DistillBatch

    dtype = dtype or torch.float32
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Any:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    lengths = [1 if like else int(n) for n in torch.randint(1, 4, (chunks,), generator=random)]
    start, after, text, chunk = [], [], [], [-1]
    for number, length in enumerate(lengths):
        own = number * texts // max(1, chunks)
        if text and own != text[-1]:
            chunk.append(-1)
        start.append(len(chunk))
        chunk += [number] * length
        after.append(len(chunk))
        text.append(own)
    chunk.append(-1)
    rows = len(chunk)
    logits = 2 * draw(rows, vocabulary)
    targets = torch.randint(0, vocabulary, (rows,), generator=random)
    targets[0] = -100
    teacher = logits if like else 2 * draw(rows, vocabulary)
    logp = teacher.log_softmax(1)
    starts = torch.tensor(start, dtype=torch.int64)
    top = logp[starts].topk(min(k, vocabulary), dim=1)
    words = torch.arange(vocabulary) % 3 == 0
    token = logp.gather(1, targets.clamp(min=0)[:, None])[:, 0]
    inside = torch.tensor(chunk)
    sums = torch.zeros(chunks, dtype=torch.float64).index_add(0, inside[inside >= 0], token[inside >= 0])
    ends = torch.tensor(after, dtype=torch.int64)
    pair = DistillBatch(
        targets=targets,
        start=starts,
        chunk=inside,
        after=ends,
        text=torch.tensor(text, dtype=torch.int64),
        single=torch.tensor([length == 1 for length in lengths], dtype=torch.bool),
        teacher_target=targets[starts],
        logprob=sums.to(dtype),
        boundary=logp[ends][:, words].logsumexp(1).to(dtype),
        top=top.values.to(dtype),
        ids=top.indices,
        logprobs=top.values.to(dtype),
    )
    return logits.to(dtype), pair
