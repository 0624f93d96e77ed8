"""What a teacher says, and how it is kept."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny import WORDS, llama, tokenizer

from cogen.errors import CompatibilityError, DigestError
from cogen.fusion.distill import teacher_cache
from cogen.fusion.distill.encode import Encoded, Encoder
from cogen.fusion.distill.sparse import pack, unpack
from cogen.fusion.distill.statistics import measure
from cogen.fusion.distill.teacher import LocalTeacher
from cogen.fusion.distill.teacher_cache import TeacherCache, build
from cogen.fusion.distill.texts import Item
from cogen.fusion.distill.top import top_k
from cogen.fusion.distill.wanted import Wanted

ALL = Wanted(logprob=True, boundary=True, top=5, sparse=12)
LINES = [" ".join(WORDS[(i + j) % len(WORDS)] for j in range(3 + 5 * i % 17)) for i in range(9)]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(teacher_cache, "SHARD", 2)


class Counting(LocalTeacher):
    """Counts what it is asked for, and dies where it is told to."""

    def __init__(self, digest: str = "one", dies_at: int = -1) -> None:
        self.loaded = self.scored = 0
        self.dies_at = dies_at

        def load() -> Any:
            self.loaded += 1
            return llama()

        super().__init__(load, tokenizer(), digest)

    def score(self, texts: Sequence[Encoded], wanted: Wanted) -> Iterator[dict[str, np.ndarray]]:
        if self.scored == self.dies_at:
            raise RuntimeError("killed")
        self.scored += 1
        return super().score(texts, wanted)


def encoded(lines: Sequence[str] = LINES) -> list[Encoded]:
    return Encoder(tokenizer()).encode([Item(line) for line in lines], 40)


def kept(teacher: LocalTeacher, texts: Sequence[Encoded], wanted: Wanted = ALL, **other: Any) -> TeacherCache:
    return build(teacher, texts, wanted, **({"texts_digest": "texts", "max_length": 40} | other))


class TestTeacher:
    """Rows, in the right place."""

    def test_row_i_predicts_token_i_and_one_more_what_follows(self) -> None:
        """Pitfall 2: off by one, and the first token of an answer is predicted too."""
        teacher, texts = Counting(), encoded()
        words = torch.from_numpy(teacher.encoder.begins_word)
        for text, said in zip(texts, teacher.score(texts, ALL), strict=True):
            with torch.no_grad():
                logp = llama()(torch.from_numpy(text.ids[None].astype(np.int64))).logits[0].double().log_softmax(1)
            m = text.stop - text.start
            rows = logp[text.start - 1 : text.stop]
            assert [len(said[name]) for name in ("logprob", "boundary", "top", "sparse_ids")] == [
                m,
                m + 1,
                m + 1,
                m + 1,
            ]
            token = [rows[i, text.ids[text.start + i]].item() for i in range(m)]
            np.testing.assert_allclose(said["logprob"], token, rtol=1e-3, atol=1e-3)
            np.testing.assert_allclose(said["boundary"], rows[:, words].logsumexp(1), rtol=1e-3, atol=1e-3)
            np.testing.assert_allclose(said["top"], rows.topk(5).values, rtol=1e-3, atol=1e-3)
            assert np.array_equal(said["sparse_ids"], rows.topk(12).indices)

    def test_company_changes_nothing(self) -> None:
        """Texts are padded to batches; alone each has the same figures."""
        teacher, texts = Counting(), encoded()
        for text, said in zip(texts, teacher.score(texts, ALL), strict=True):
            (alone,) = teacher.score([text], ALL)
            np.testing.assert_allclose(said["logprob"], alone["logprob"], rtol=2e-3, atol=2e-3)

    def test_it_is_loaded_when_it_is_needed(self) -> None:
        teacher = Counting()
        assert teacher.loaded == 0
        list(teacher.score(encoded(), ALL))
        list(teacher.score(encoded(), ALL))
        assert teacher.loaded == 1
        teacher.release()
        list(teacher.score(encoded(), ALL))
        assert teacher.loaded == 2

    def test_logits_that_are_changed_behind_the_head(self) -> None:
        """Gemma 2 caps its logits: its own forward pass is asked."""
        from transformers import Gemma2Config, Gemma2ForCausalLM

        torch.manual_seed(1)
        model = Gemma2ForCausalLM(
            Gemma2Config(
                vocab_size=300, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
                num_key_value_heads=1, head_dim=8, final_logit_softcapping=0.5, initializer_range=1.0,
                attn_implementation="eager",
            )
        ).eval()  # fmt: skip
        (text,) = encoded(LINES[:1])
        (said,) = LocalTeacher(lambda: model, tokenizer(), "g").score([text], ALL)
        with torch.no_grad():
            logp = model(torch.from_numpy(text.ids[None].astype(np.int64))).logits[0].double().log_softmax(1)
        np.testing.assert_allclose(said["top"], logp[text.start - 1 : text.stop].topk(5).values, rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize("kind", ["bert", "modernbert-decoder"])
    def test_a_head_that_is_more_than_one_matrix(self, kind: str) -> None:
        """BERT's head transforms states first; ModernBERT's decoder calls its matrix the decoder."""
        from transformers import AutoConfig, AutoModelForCausalLM

        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(
                kind, vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
                max_position_embeddings=64, initializer_range=0.5, is_decoder=True, pad_token_id=0, bos_token_id=0,
                eos_token_id=0, cls_token_id=0, sep_token_id=0,
            )
        ).eval()  # fmt: skip
        texts = encoded(LINES[:3])
        for text, said in zip(texts, LocalTeacher(lambda: model, tokenizer(), "m").score(texts, ALL), strict=True):
            with torch.no_grad():
                logp = model(torch.from_numpy(text.ids[None].astype(np.int64))).logits[0].double().log_softmax(1)
            rows = logp[text.start - 1 : text.stop]
            np.testing.assert_allclose(said["top"], rows.topk(5).values, rtol=2e-3, atol=2e-3)

    def test_only_rows_that_are_asked_for_go_through_a_plain_head(self) -> None:
        """But for the few tokens on which it is found to be plain."""
        model, seen = llama(), []
        model.get_output_embeddings().register_forward_hook(lambda _, args, out: seen.append(out[..., 0].numel()))
        texts = encoded()
        list(LocalTeacher(lambda: model, tokenizer(), "m").score(texts, ALL))
        assert sum(seen) <= sum(text.stop - text.start + 1 for text in texts) + 2 * 16

    def test_a_chat_template_is_part_of_the_tokenizers_digest(self) -> None:
        import copy

        other = copy.deepcopy(tokenizer())
        other.chat_template = "{{ messages }}"
        assert (
            LocalTeacher(llama, other, "x").tokenizer_digest != LocalTeacher(llama, tokenizer(), "x").tokenizer_digest
        )


class TestStatistics:
    """Of rows of logits."""

    def test_padding_of_the_head_counts_for_nothing(self) -> None:
        """Pitfall 12."""
        logits, words = torch.randn(6, 20), torch.arange(20) % 2 == 0
        padded = torch.cat([logits, torch.full((6, 4), 9.0)], 1)
        targets = torch.arange(6)
        one, two = measure(logits, targets, words, ALL, 20), measure(padded, targets, words, ALL, 20)
        for name, values in one.items():
            assert np.array_equal(values, two[name]), name

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_what_is_no_number_is_not_kept(self, value: float) -> None:
        logits = torch.randn(3, 20)
        logits[1, 4] = value
        with pytest.raises(CompatibilityError, match="no numbers"):
            measure(logits, torch.arange(3), torch.arange(20) % 2 == 0, ALL, 20)

    @given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 300))
    @settings(deadline=None, max_examples=60)
    def test_the_largest_entries_are_found_in_blocks(self, seed: int, k: int, width: int) -> None:
        values = torch.randn(3, width, generator=torch.Generator().manual_seed(seed)).bfloat16().float()
        k = min(k, width)
        found, ids = top_k(values, k)
        assert torch.equal(found, values.topk(k).values)
        assert torch.equal(ids, values.sort(dim=1, descending=True, stable=True).indices[:, :k])  # ties: lower first
        assert torch.equal(values.gather(1, ids), found)
        assert all(len(set(row)) == k for row in ids.tolist())


class TestSparse:
    """The likeliest tokens in few bytes."""

    @given(st.integers(0, 10**6), st.integers(2, 60), st.floats(0.1, 12))
    @settings(deadline=None, max_examples=40)
    def test_round_trip(self, seed: int, k: int, spread: float) -> None:
        random = torch.Generator().manual_seed(seed)
        values, ids = (spread * torch.randn(5, 70_000, generator=random)).log_softmax(1).topk(k)
        there, said = unpack(pack(ids.numpy(), values.numpy()), k)
        for row in range(5):
            known = dict(zip(ids[row].tolist(), values[row].tolist(), strict=True))
            assert set(there[row]) == set(known)
            high, low = max(known.values()), min(known.values())
            span = max(high - low, 1e-6)
            for id, value in zip(there[row].tolist(), said[row].tolist(), strict=True):
                x = min(1.0, max(0.0, (high - known[id]) / span))
                bound = span * (x**0.5 / 255 + 1 / 510**2) + 2e-3 * (1 + abs(low))
                assert abs(value - known[id]) <= bound
            assert (np.diff(said[row]) <= 0).all()

    def test_size(self) -> None:
        """At k = 128 of 262,144 tokens about 300 bytes a row."""
        random = torch.Generator().manual_seed(0)
        ranks = torch.arange(1, 262_145).float()
        logits = torch.stack([-1.1 * ranks.log()[torch.randperm(262_144, generator=random)] for _ in range(96)])
        logits += 0.5 * torch.randn(logits.shape, generator=random)
        values, ids = logits.log_softmax(1).topk(128)
        size = sum(plane.nbytes for plane in pack(ids.numpy(), values.numpy()).values()) / 96
        assert 200 < size < 340


class TestCache:
    """Once scored, read for ever; never half."""

    def test_what_is_read_is_what_was_said(self) -> None:
        texts = encoded()
        said = list(Counting().score(texts, ALL))
        cache = kept(Counting(), texts)
        assert len(cache) == len(texts)
        for index, one in enumerate(said):
            for name in ("logprob", "boundary", "top"):
                assert np.array_equal(cache[index][name], one[name].astype(np.float32)), name
            assert np.array_equal(cache[index]["sparse_ids"][:, 0], one["sparse_ids"][:, 0])
            assert set(cache[index]["sparse_ids"].ravel()) == set(one["sparse_ids"].ravel())
        with pytest.raises(IndexError):
            cache[len(texts)]

    def test_a_second_run_loads_no_teacher(self) -> None:
        first, second = Counting(), Counting()
        kept(first, encoded())
        assert first._model is None  # released: the next teacher has the memory
        kept(second, encoded())
        assert second.loaded == second.scored == 0

    def test_a_run_that_was_killed_goes_on(self) -> None:
        dying, next_one = Counting(dies_at=2), Counting()
        with pytest.raises(RuntimeError, match="killed"):
            kept(dying, encoded())
        assert dying._model is None
        kept(next_one, encoded())
        assert dying.scored + next_one.scored == 5  # nine texts, two a shard

    def test_a_process_that_was_killed(self) -> None:
        """SIGKILL while the third shard is scored; what is read afterwards is what a whole run gives."""
        texts = encoded()
        said = list(Counting().score(texts, ALL))

        class Canned(Counting):
            def score(self, part: Sequence[Encoded], wanted: Wanted) -> Iterator[dict[str, np.ndarray]]:
                if self.scored == self.dies_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                self.scored += 1
                return iter([said[next(i for i, text in enumerate(texts) if text is one)] for one in part])

        dying, next_one = Canned(dies_at=2), Canned()
        child = os.fork()
        if not child:
            kept(dying, texts)
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        cache = kept(next_one, texts)
        assert next_one.scored == 3
        whole = kept(Canned("another"), texts)
        for one, other in zip(cache, whole, strict=True):
            assert all(np.array_equal(one[name], other[name]) for name in other)

    def test_a_text_is_read_alone(self) -> None:
        """In any order, a text's statistics are its own."""
        texts = encoded()
        said, cache = list(Counting().score(texts, ALL)), kept(Counting(), texts)
        for index in (7, 0, 8, 3, 7):
            for row in range(len(said[index]["sparse_ids"])):
                assert set(cache[index]["sparse_ids"][row]) == set(said[index]["sparse_ids"][row])

    @pytest.mark.parametrize("harm", ["flip", "cut", "gone"])
    def test_damage_is_found(self, harm: str) -> None:
        cache = kept(Counting(), encoded())
        file = sorted(cache.folder.glob("*.safetensors"))[1]
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        if harm == "gone":
            file.unlink()
        else:
            file.write_bytes(data if harm == "flip" else data[:-1])
        again = kept(Counting(), encoded())
        again[0]
        with pytest.raises(DigestError, match=r"000001.* is damaged") as found:
            again[2]
        assert str(cache.folder) in (found.value.hint or "")

    @pytest.mark.parametrize("note", [None, "", "[]", "{"])
    def test_a_shard_without_its_digest_is_made_again(self, note: str | None) -> None:
        cache = kept(Counting(), encoded())
        file = sorted(cache.folder.glob("*.json"))[0]
        file.unlink() if note is None else file.write_text(note)
        teacher = Counting()
        kept(teacher, encoded())
        assert teacher.scored == 1

    def test_whatever_decides_is_part_of_the_key(self) -> None:
        texts = encoded()
        folders = {
            kept(Counting(), texts).folder,
            kept(Counting("another"), texts).folder,
            kept(Counting(), texts, texts_digest="others").folder,
            kept(Counting(), texts, max_length=41).folder,
            kept(Counting(), texts, Wanted(logprob=True)).folder,
        }
        assert len(folders) == 5

    def test_texts_of_which_nothing_was_read(self) -> None:
        texts = encoded()
        empty = Encoded(texts[0].ids[:1], 1, 1, texts[0].ends[:0])
        cache = kept(Counting(), [texts[0], empty, texts[1]])
        assert len(cache[1]["logprob"]) == 0
        assert np.array_equal(cache[2]["logprob"], kept(Counting(), texts)[1]["logprob"])

    def test_size(self) -> None:
        """Chunk likelihoods at most four bytes a token, ten logits twenty; a head for each shard."""
        teacher_cache.SHARD = 256
        texts = encoded(LINES * 30)
        tokens = sum(text.stop - text.start for text in texts)
        rows = tokens + len(texts)
        heads = 2 * 1024 + 2 * 16 * len(texts)
        assert kept(Counting(), texts, Wanted(logprob=True, boundary=True)).nbytes <= 2 * tokens + 2 * rows + heads
        assert kept(Counting(), texts, Wanted(top=10)).nbytes <= 20 * rows + heads
