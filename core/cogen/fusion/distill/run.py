"""From a pivot, teachers and texts to a taught model: score, train the control, train the student, average.

Everything that takes time is kept in the cache: a killed run goes on where it was, and a second fusion on the same
texts needs no teacher and no control again.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cogen.checkpoints.adapter import read_adapter
from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.evals import model_digest
from cogen.files import cache_dir, made_once
from cogen.fusion.distill.alignment.align import align
from cogen.fusion.distill.alignment.encode import Encoded, Encoder
from cogen.fusion.distill.losses.plugin import PluginLoss, identity
from cogen.fusion.distill.losses.registry import make_loss, needs_of
from cogen.fusion.distill.settings import Distillation
from cogen.fusion.distill.student.corpus import Batches, CachedStatistics, TeacherView, bits_per_byte, to_read
from cogen.fusion.distill.student.launch import launched, launcher, training_dtype
from cogen.fusion.distill.teachers.cache import build
from cogen.fusion.distill.teachers.needs import TeacherStatistics
from cogen.fusion.distill.teachers.teacher import LocalTeacher, Teacher
from cogen.fusion.distill.texts import Item, texts_digest
from cogen.merging.lora.merge import write_merged
from cogen.merging.writer import copy_model_files
from cogen.spec.expert import canonical_digest
from cogen.training.trainer import Report

if TYPE_CHECKING:
    from cogen.fusion.distill.student.trainer import LossTerm

#: Raised when the same settings would train another model.
_VERSION = 1
#: The same for what only listening to teachers changes: controls keep their place in the cache.
_LISTENING = 3


@dataclass(frozen=True)
class LoadedTeacher:
    """A teacher and its weight."""

    name: str
    teacher: Teacher
    weight: float = 1.0


@dataclass(frozen=True)
class DistillRun:
    """A pivot and what it learns from.

    :param pivot: a plain checkpoint folder.
    """

    pivot: Checkpoint
    tokenizer: Any
    tokenizer_digest: str
    items: Sequence[Item]
    wish: Distillation

    @property
    def padding(self) -> int:
        found = self.tokenizer.pad_token_id
        return 0 if found is None else int(found)

    def fresh(self) -> Any:
        """The pivot's model as it is trained: in float32 where all of it is."""
        return load_model(self.pivot, training_dtype(self.wish))

    @property
    def key(self) -> list[Any]:
        """What decides the control."""
        wish = self.wish.model_dump(mode="json", exclude={"pivot", "texts", "groups", "mix", "strength", "arrangement"})
        # Several processes add up in another order than one does.
        launched = [launcher()] if launcher() else []
        return [_VERSION, model_digest(self.pivot), self.tokenizer_digest, texts_digest(self.items), wish, *launched]


def encoders(school: DistillRun) -> tuple[Encoder, list[Encoded]]:
    """The pivot's encoder, and every text as the pivot reads it."""
    encoder = Encoder(school.tokenizer)
    return encoder, encoder.encode(school.items, school.wish.max_length)


def score(
    school: DistillRun,
    mentor: LoadedTeacher,
    wanted: TeacherStatistics,
    progress: Any = None,
    read: Sequence[int] | None = None,
) -> TeacherView:
    """What a teacher says of the texts, from the cache where it said so before. It teaches all of them.

    :param read: places of those that it reads; left out, all.
    """
    read = range(len(school.items)) if read is None else read
    encoded = mentor.teacher.encoder.encode(school.items, school.wish.max_length)
    if progress:
        progress.describe(f"{mentor.name} reads the texts")
    cache = build(
        mentor.teacher,
        [encoded[index] for index in read],
        wanted,
        texts_digest=texts_digest([school.items[index] for index in read]),
        max_length=school.wish.max_length,
        progress=progress,
    )
    told = CachedStatistics.of(read, cache)
    return TeacherView(mentor.name, encoded, told, [index in told for index in range(len(encoded))])


def assign_teachers(teachings: Sequence[TeacherView], wish: Distillation) -> list[TeacherView]:
    """Who teaches which text; see :class:`Distillation`."""
    if wish.mix == "static" or len(teachings) < 2:
        return list(teachings)
    bits = [
        {index: bits_per_byte(teaching.encoded[index], said) for index, said in teaching.statistics.items()}
        for teaching in teachings
    ]
    best = {index: min(range(len(bits)), key=lambda number: (bits[number][index], number)) for index in bits[0]}
    return [
        replace(teaching, teaches=[best.get(index) == number for index in range(len(teaching.encoded))])
        for number, teaching in enumerate(teachings)
    ]


@dataclass(frozen=True)
class DistillMethod:
    """A loss, or several joined by "+", and its parameters; ``extra``: losses of plugins, by name."""

    name: str
    parameters: Mapping[str, float] = field(default_factory=dict)
    extra: Mapping[str, PluginLoss] = field(default_factory=dict)

    @property
    def key(self) -> list[Any]:
        """What decides a student."""
        own = {name: loss for name, loss in self.extra.items() if name in self.name.split("+")}
        return [self.name, dict(self.parameters), *identity(own)]


def train_control(school: DistillRun, report: Report) -> Path:
    """The pivot after the same texts and steps with the language model's loss alone."""
    return _taught(school, "control", [], [], None, report)


def distill(
    school: DistillRun, mentors: Sequence[LoadedTeacher], method: DistillMethod, report: Report, progress: Any = None
) -> Path:
    """The pivot after its lessons: a plain checkpoint folder in the cache."""
    wish = school.wish
    if wish.arrangement == "pairwise" and len(mentors) > 1:
        parts = [distill(school, [mentor], method, report, progress) for mentor in mentors]
        return _averaged(school, parts, [mentor.weight for mentor in mentors])
    weights = [mentor.weight for mentor in mentors]
    key = [_LISTENING, weights, wish.mix if len(mentors) > 1 else "", wish.strength]
    return _taught(school, "student", key, mentors, method, report, progress)


def train_preferences(
    school: DistillRun, mentors: Sequence[LoadedTeacher], method: DistillMethod, report: Report, progress: Any = None
) -> Path:
    """The pivot after it learned to prefer: its items are all better answers, then all worse ones.

    Method dpo listens to no teacher; infifpo to their clipped fusion (:mod:`.preference.loss`).
    """
    mentors = [] if method.name == "dpo" else mentors

    def train(run: Path) -> Any:
        from cogen.fusion.distill.student.preference.pairs import PreferenceBatches, mean_logprob
        from cogen.fusion.distill.student.preference.trainer import prefer

        encoder, texts = encoders(school)
        half = len(texts) // 2
        initial = LocalTeacher(
            lambda: load_model(school.pivot, "bfloat16"), school.tokenizer, model_digest(school.pivot)
        )
        columns = [
            [
                mean_logprob(said)
                for said in score(school, mentor, TeacherStatistics(logprob=True), progress).statistics.values()
            ]
            for mentor in [*mentors, LoadedTeacher("the pivot as it is", initial)]
        ]
        said = np.array(columns).T
        batches = PreferenceBatches(texts[:half], texts[half:], (said[:half], said[half:]), school.padding, school.wish)
        beta = float(method.parameters.get("beta", 2.5))
        return prefer(school.fresh(), batches, school.wish, run, report, encoder.size, beta=beta)

    return _trained(school, "preferred", [], mentors, method, train)


def _taught(
    school: DistillRun,
    kind: str,
    key: list[Any],
    mentors: Sequence[LoadedTeacher],
    method: DistillMethod | None,
    report: Report,
    progress: Any = None,
) -> Path:
    def train(run: Path) -> Any:
        from cogen.fusion.distill.student.trainer import student_trainer, teach

        encoder, texts = encoders(school)
        teachings: list[TeacherView] = []
        lessons: list[LossTerm] = []
        if method is not None:
            wanted = needs_of(method.name, method.parameters, method.extra)
            read = to_read(texts, school.wish)
            teachings = assign_teachers(
                [score(school, mentor, wanted, progress, read) for mentor in mentors], school.wish
            )
            lessons = _lessons(encoder, texts, mentors, teachings, method)
        batches = Batches(texts, teachings, school.padding, school.wish)
        if launcher():
            make = student_trainer(lessons, school.wish, encoder.size)
            return launched(make, school.pivot, batches, school.wish, run, report)
        return teach(school.fresh(), batches, lessons, school.wish, run, report, encoder.size)

    return _trained(school, kind, key, mentors, method, train)


def _trained(
    school: DistillRun,
    kind: str,
    key: list[Any],
    mentors: Sequence[LoadedTeacher],
    method: DistillMethod | None,
    train: Callable[[Path], Any],
) -> Path:
    """A trained pivot in the cache. ``train`` is given the folder of its checkpoints, which a killed run left there.

    :param key: what decides it beside school, teachers and method.
    """
    said = [[m.teacher.digest, m.teacher.tokenizer_digest] for m in mentors]
    how = method.key if method else []
    folder = cache_dir() / "distill" / f"{kind}-{canonical_digest([school.key, how, said, key])[7:39]}"
    steps = folder.with_name(f"{folder.name}.steps")

    def make(part: Path) -> None:
        write_student(train(steps), school.pivot, part)
        shutil.rmtree(steps, ignore_errors=True)

    return made_once(folder, make)


def _lessons(
    student: Encoder,
    texts: Sequence[Encoded],
    mentors: Sequence[LoadedTeacher],
    teachings: Sequence[TeacherView],
    method: DistillMethod,
) -> list[LossTerm]:
    from cogen.fusion.distill.student.trainer import LossTerm

    return [
        LossTerm(loss, number, mentor.weight)
        for number, (mentor, teaching) in enumerate(zip(mentors, teachings, strict=True))
        for loss in make_loss(
            method.name,
            student,
            mentor.teacher.encoder,
            method.parameters,
            beginnings(texts, teaching.encoded),
            method.extra,
        )
    ]


def beginnings(own: Sequence[Encoded], other: Sequence[Encoded]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of both sides at the start of every chunk of all texts, shape (n,)."""
    chunks = [align(a.ends, b.ends) for a, b in zip(own, other, strict=True)]
    first = [a.ids[a.start + chunk.a_first] for a, chunk in zip(own, chunks, strict=True)]
    second = [b.ids[b.start + chunk.b_first] for b, chunk in zip(other, chunks, strict=True)]
    return np.concatenate(first), np.concatenate(second)


def write_student(model: Any, pivot: Checkpoint, folder: Path) -> None:
    """A plain checkpoint in the pivot's stored types; ``folder`` exists and is empty.

    :param model: as :func:`~cogen.fusion.distill.student.trainer.teach` gives it: whole, or with low-rank differences.
    """
    import torch

    if hasattr(model, "peft_config"):
        with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=".adapter.") as scratch:
            model.save_pretrained(scratch)
            write_merged(pivot, [read_adapter(Path(scratch))], [1.0], folder)
        return
    # One type for all: that of the widest tensor, which is every tensor's in the checkpoints that are published.
    wide = max((info.dtype for info in pivot.tensors.values()), key=lambda name: getattr(torch, name).itemsize)
    model.to(getattr(torch, wide)).save_pretrained(folder)
    copy_model_files(pivot.folder, folder)


def _averaged(school: DistillRun, parts: Sequence[Path], weights: Sequence[float]) -> Path:
    """Pivot + the weighted mean of the differences, tensor by tensor."""
    from cogen.merging.engine import Engine, Merge, OutputTensor
    from cogen.merging.methods.linear import linear
    from cogen.merging.operands import Stored
    from cogen.merging.writer import write_outputs

    opened = [open_folder(part) for part in parts]
    key = canonical_digest([_VERSION, [part.name for part in parts], list(weights)])
    shares = tuple(weight / sum(weights) for weight in weights)

    def make(part: Path) -> None:
        with Engine() as engine:
            outputs = [
                OutputTensor(
                    name,
                    info.dtype,
                    info.shape,
                    Merge(
                        linear, None, tuple(Stored(engine.files, one, name, one.folder.name) for one in opened), shares
                    ),
                )
                for name, info in sorted(opened[0].tensors.items())
            ]
            write_outputs(outputs, engine, part)
        copy_model_files(school.pivot.folder, part)

    return made_once(cache_dir() / "distill" / f"average-{key[7:39]}", make)
