"""What a teacher says is kept: once scored, read for ever; never half."""

from __future__ import annotations

import copy
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.teachers import ALL, LINES, Counting, empty, encoded
from support.tiny import llama, tokenizer

from cogen.errors import DigestError
from cogen.fusion.distill.alignment.encode import Encoded
from cogen.fusion.distill.teachers import cache as teacher_cache
from cogen.fusion.distill.teachers.cache import TeacherCache, build
from cogen.fusion.distill.teachers.needs import TeacherStatistics
from cogen.fusion.distill.teachers.teacher import LocalTeacher


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(teacher_cache, "SHARD", 2)


def kept(
    teacher: LocalTeacher, texts: Sequence[Encoded], wanted: TeacherStatistics = ALL, **other: Any
) -> TeacherCache:
    return build(teacher, texts, wanted, **({"texts_digest": "texts", "max_length": 40} | other))


class TestCache:
    """Once scored, read for ever; never half."""

    def test_what_is_read_is_what_was_said(self) -> None:
        texts = encoded()
        output = list(Counting().score(texts, ALL))
        cache = kept(Counting(), texts)
        assert len(cache) == len(texts)
        for index, one in enumerate(output):
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
        output = list(Counting().score(texts, ALL))

        class Canned(Counting):
            def score(self, part: Sequence[Encoded], wanted: TeacherStatistics) -> Iterator[dict[str, np.ndarray]]:
                if self.scored == self.dies_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                self.scored += 1
                return iter([output[next(i for i, text in enumerate(texts) if text is one)] for one in part])

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
        output, cache = list(Counting().score(texts, ALL)), kept(Counting(), texts)
        for index in (7, 0, 8, 3, 7):
            for row in range(len(output[index]["sparse_ids"])):
                assert set(cache[index]["sparse_ids"][row]) == set(output[index]["sparse_ids"][row])

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
            kept(Counting(), texts, TeacherStatistics(logprob=True)).folder,
        }
        assert len(folders) == 5

    def test_texts_of_which_nothing_was_read(self) -> None:
        texts = encoded()
        cache = kept(Counting(), [texts[0], empty(texts[0]), texts[1]])
        assert len(cache[1]["logprob"]) == 0
        assert np.array_equal(cache[2]["logprob"], kept(Counting(), texts)[1]["logprob"])

    def test_size(self) -> None:
        """Chunk likelihoods at most four bytes a token, ten logits twenty; a head for each shard."""
        teacher_cache.SHARD = 256
        texts = encoded(LINES * 30)
        tokens = sum(text.stop - text.start for text in texts)
        rows = tokens + len(texts)
        heads = 2 * 1024 + 2 * 16 * len(texts)
        for wanted, most in (
            (TeacherStatistics(logprob=True, boundary=True), 2 * tokens + 2 * rows),
            (TeacherStatistics(top=10), 20 * rows),
        ):
            folder = kept(Counting(), texts, wanted).folder
            assert most <= sum(file.stat().st_size for file in folder.glob("*.safetensors")) <= most + heads

    @pytest.mark.parametrize("writes", [1, 2, 3, 4])
    def test_a_process_that_was_killed_while_it_wrote(self, writes: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """SIGKILL between a file's bytes and its name: shards and their digests in turn. Nothing half is left over."""
        texts = encoded()
        output = list(Counting().score(texts, ALL))

        class Canned(Counting):
            def score(self, part: Sequence[Encoded], wanted: TeacherStatistics) -> Iterator[dict[str, np.ndarray]]:
                self.scored += 1
                return iter([output[next(i for i, text in enumerate(texts) if text is one)] for one in part])

        child = os.fork()
        if not child:
            left = iter(range(writes - 1))
            monkeypatch.setattr(os, "fsync", lambda _: os.kill(os.getpid(), signal.SIGKILL) if dry(left) else None)
            kept(Canned(), texts)
            os._exit(0)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        teacher = Canned()
        cache = kept(teacher, texts)
        assert teacher.scored == 5 - (writes - 1) // 2  # a shard without its digest is made again
        for one, other in zip(cache, kept(Canned("another"), texts), strict=True):
            assert all(np.array_equal(one[name], other[name]) for name in other)
        assert len(list(cache.folder.iterdir())) == 2 * 5

    def test_the_tokenizer_and_its_template_are_part_of_the_key(self) -> None:
        texts = encoded()
        chatty, other = copy.deepcopy(tokenizer()), copy.deepcopy(tokenizer())
        chatty.chat_template = "{{ messages }}"
        other.add_tokens(["grid operator"])
        teachers = [LocalTeacher(llama, each, "one") for each in (tokenizer(), chatty, other)]
        assert len({kept(teacher, texts[:2]).folder for teacher in teachers}) == 3

    def test_the_number_of_texts_is_part_of_the_key(self) -> None:
        """A digest of texts that a caller got wrong still never reads behind the end."""
        texts = encoded()
        assert kept(Counting(), texts).folder != kept(Counting(), texts[:3]).folder

    def test_a_shard_of_which_nothing_was_read(self) -> None:
        """And those around it are what they would be alone."""
        texts = encoded()
        none = empty(texts[0])
        teacher = Counting()
        cache = kept(teacher, [none, none, texts[0], none])
        assert [len(cache[index].get("logprob", ())) for index in range(4)] == [0, 0, texts[0].stop - texts[0].start, 0]
        assert cache[3]["sparse_ids"].shape == (0, 12)
        kept(teacher, [none, none, texts[0], none])
        assert teacher.scored == 2

    def test_progress_is_told_of_every_token(self) -> None:
        """Also of those that were read in another run."""

        class Bar:
            seen = 0

            def advance(self, count: int) -> None:
                self.seen += count

        texts = encoded()
        for _ in range(2):
            bar = Bar()
            kept(Counting(), texts, reporter=bar)
            assert bar.seen == sum(len(text.ids) for text in texts)


def dry(left: Iterator[int]) -> bool:
    return next(left, None) is None
