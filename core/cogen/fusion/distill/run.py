"""From a student, teachers and texts to a distilled model: score, train the control, train the student, average.

Everything that takes time is kept in the cache: a killed run goes on where it was, and a second fusion on the same
texts needs no teacher and no control again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cogen.cache import cached, scratch
from cogen.checkpoints.adapter import read_adapter
from cogen.checkpoints.finite import check_model
from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.devices import mark
from cogen.evals import model_digest
from cogen.files import made_once
from cogen.fusion.distill.alignment.align import align
from cogen.fusion.distill.alignment.encode import Encoded, Encoder
from cogen.fusion.distill.losses.plugin import PluginLoss, identity
from cogen.fusion.distill.losses.registry import make_loss, needs_of
from cogen.fusion.distill.settings import Distillation
from cogen.fusion.distill.student.corpus import Batches, CachedStatistics, TeacherView, bits_per_byte, select_texts
from cogen.fusion.distill.student.launch import launch_training, launcher, training_dtype
from cogen.fusion.distill.teachers.cache import build
from cogen.fusion.distill.teachers.needs import TeacherStatistics
from cogen.fusion.distill.teachers.teacher import LocalTeacher, Teacher
from cogen.fusion.distill.texts import Item, texts_digest
from cogen.merging.lora.merge import write_merged
from cogen.merging.writer import copy_model_files, index_folder
from cogen.reporter import SILENT, Reporter
from cogen.spec.expert import canonical_digest
from cogen.training.trainer import OnStep

if TYPE_CHECKING:
    from cogen.fusion.distill.student.trainer import LossTerm

#: Raised when the same settings would train another model.
_VERSION = 1
#: The same for changes that concern teachers alone: controls keep their place in the cache.
_TEACHING_VERSION = 3


@dataclass(frozen=True)
class LoadedTeacher:
    """A teacher and its weight."""

    name: str
    model: Teacher
    weight: float = 1.0


@dataclass(frozen=True)
class DistillRun:
    """A student and what it learns from.

    :param student: a plain checkpoint folder.
    """

    student: Checkpoint
    tokenizer: Any
    tokenizer_digest: str
    items: Sequence[Item]
    settings: Distillation

    @property
    def padding(self) -> int:
        found = self.tokenizer.pad_token_id
        return 0 if found is None else int(found)

    def fresh(self) -> Any:
        """The student's model as it is trained: in float32 where all of it is."""
        return load_model(self.student, training_dtype(self.settings), device="cpu")

    @property
    def key(self) -> list[Any]:
        """What decides the control."""
        settings = self.settings.model_dump(
            mode="json", exclude={"pivot", "texts", "groups", "mix", "strength", "arrangement"}
        )
        # Several processes add up in another order than one does.
        processes = [launcher()] if launcher() else []
        return [
            _VERSION,
            model_digest(self.student),
            self.tokenizer_digest,
            texts_digest(self.items),
            settings,
            *processes,
        ]


def encoders(setup: DistillRun) -> tuple[Encoder, list[Encoded]]:
    """The student's encoder, and every text as the student reads it."""
    encoder = Encoder(setup.tokenizer)
    return encoder, encoder.encode(setup.items, setup.settings.max_length)


def score(
    setup: DistillRun,
    teacher: LoadedTeacher,
    needs: TeacherStatistics,
    reporter: Reporter = SILENT,
    read: Sequence[int] | None = None,
) -> TeacherView:
    """A teacher's statistics of the texts, from the cache where it has scored them before. It teaches all of them.

    :param read: places of those that it reads; left out, all.
    """
    read = range(len(setup.items)) if read is None else read
    encoded = teacher.model.encoder.encode(setup.items, setup.settings.max_length)
    reporter.describe(f"{teacher.name} reads the texts")
    cache = build(
        teacher.model,
        [encoded[index] for index in read],
        needs,
        texts_digest=texts_digest([setup.items[index] for index in read]),
        max_length=setup.settings.max_length,
        reporter=reporter,
    )
    statistics = CachedStatistics.of(read, cache)
    return TeacherView(teacher.name, encoded, statistics, [index in statistics for index in range(len(encoded))])


def assign_teachers(views: Sequence[TeacherView], settings: Distillation) -> list[TeacherView]:
    """Which teacher teaches which text; see :class:`Distillation`."""
    if settings.mix == "static" or len(views) < 2:
        return list(views)
    bits = [
        {index: bits_per_byte(view.encoded[index], found) for index, found in view.statistics.items()} for view in views
    ]
    best = {index: min(range(len(bits)), key=lambda number: (bits[number][index], number)) for index in bits[0]}
    return [
        replace(view, teaches=[best.get(index) == number for index in range(len(view.encoded))])
        for number, view in enumerate(views)
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


def train_control(setup: DistillRun, on_step: OnStep) -> Path:
    """The student after the same texts and steps with the language model's loss alone."""
    return _train_on_texts(setup, "control", [], [], None, on_step)


def distill(
    setup: DistillRun,
    teachers: Sequence[LoadedTeacher],
    method: DistillMethod,
    on_step: OnStep,
    reporter: Reporter = SILENT,
) -> Path:
    """The distilled student: a plain checkpoint folder in the cache."""
    settings = setup.settings
    if settings.arrangement == "pairwise" and len(teachers) > 1:
        parts = [distill(setup, [teacher], method, on_step, reporter) for teacher in teachers]
        return _average(setup, parts, [teacher.weight for teacher in teachers])
    weights = [teacher.weight for teacher in teachers]
    key = [_TEACHING_VERSION, weights, settings.mix if len(teachers) > 1 else "", settings.strength]
    return _train_on_texts(setup, "student", key, teachers, method, on_step, reporter)


def train_preferences(
    setup: DistillRun,
    teachers: Sequence[LoadedTeacher],
    method: DistillMethod,
    on_step: OnStep,
    reporter: Reporter = SILENT,
) -> Path:
    """The student after preference optimisation: its items are all better answers, then all worse ones.

    Method dpo uses no teacher, infifpo their clipped fusion (:mod:`.preference.loss`).
    """
    teachers = [] if method.name == "dpo" else teachers

    def train(run: Path) -> Any:
        from cogen.fusion.distill.student.preference.pairs import PreferenceBatches, mean_logprob
        from cogen.fusion.distill.student.preference.trainer import train_preference

        encoder, texts = encoders(setup)
        half = len(texts) // 2
        initial = LocalTeacher(
            lambda: load_model(setup.student, "bfloat16"), setup.tokenizer, model_digest(setup.student)
        )
        columns = [
            [
                mean_logprob(found)
                for found in score(setup, teacher, TeacherStatistics(logprob=True), reporter).statistics.values()
            ]
            for teacher in [*teachers, LoadedTeacher("the student as it is", initial)]
        ]
        scores = np.array(columns).T
        batches = PreferenceBatches(
            texts[:half], texts[half:], (scores[:half], scores[half:]), setup.padding, setup.settings
        )
        beta = float(method.parameters.get("beta", 2.5))
        return train_preference(setup.fresh(), batches, setup.settings, run, on_step, encoder.size, beta=beta)

    return _train_cached(setup, "preferred", [], teachers, method, train)


def _train_on_texts(
    setup: DistillRun,
    kind: str,
    key: list[Any],
    teachers: Sequence[LoadedTeacher],
    method: DistillMethod | None,
    on_step: OnStep,
    reporter: Reporter = SILENT,
) -> Path:
    def train(run: Path) -> Any:
        from cogen.fusion.distill.student.trainer import student_trainer, train_student

        encoder, texts = encoders(setup)
        views: list[TeacherView] = []
        terms: list[LossTerm] = []
        if method is not None:
            needs = needs_of(method.name, method.parameters, method.extra)
            read = select_texts(texts, setup.settings)
            views = assign_teachers(
                [score(setup, teacher, needs, reporter, read) for teacher in teachers], setup.settings
            )
            terms = _loss_terms(encoder, texts, teachers, views, method)
        batches = Batches(texts, views, setup.padding, setup.settings)
        if launcher():
            make = student_trainer(terms, setup.settings, encoder.size)
            return launch_training(make, setup.student, batches, setup.settings, run, on_step)
        return train_student(setup.fresh(), batches, terms, setup.settings, run, on_step, encoder.size)

    return _train_cached(setup, kind, key, teachers, method, train)


def _train_cached(
    setup: DistillRun,
    kind: str,
    key: list[Any],
    teachers: Sequence[LoadedTeacher],
    method: DistillMethod | None,
    train: Callable[[Path], Any],
) -> Path:
    """A trained student in the cache. ``train`` is given the folder of its checkpoints, which a killed run left there.

    :param key: what decides it beside school, teachers and method.
    """
    models = [[m.model.digest, m.model.tokenizer_digest] for m in teachers]
    how = method.key if method else []
    folder = cached("distill", f"{kind}-{canonical_digest([setup.key, how, models, key, *mark()])[7:39]}")
    steps = folder.with_name(f"{folder.name}.steps")

    def make(part: Path) -> None:
        write_student(train(steps), setup.student, part)
        shutil.rmtree(steps, ignore_errors=True)

    return made_once(folder, make)


def _loss_terms(
    student: Encoder,
    texts: Sequence[Encoded],
    teachers: Sequence[LoadedTeacher],
    views: Sequence[TeacherView],
    method: DistillMethod,
) -> list[LossTerm]:
    from cogen.fusion.distill.student.trainer import LossTerm

    return [
        LossTerm(loss, number, teacher.weight)
        for number, (teacher, view) in enumerate(zip(teachers, views, strict=True))
        for loss in make_loss(
            method.name,
            student,
            teacher.model.encoder,
            method.parameters,
            beginnings(texts, view.encoded),
            method.extra,
        )
    ]


def beginnings(own: Sequence[Encoded], other: Sequence[Encoded]) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of both sides at the start of every chunk of all texts, shape (n,)."""
    chunks = [align(a.ends, b.ends) for a, b in zip(own, other, strict=True)]
    first = [a.ids[a.start + chunk.a_first] for a, chunk in zip(own, chunks, strict=True)]
    second = [b.ids[b.start + chunk.b_first] for b, chunk in zip(other, chunks, strict=True)]
    return np.concatenate(first), np.concatenate(second)


def write_student(model: Any, student: Checkpoint, folder: Path) -> None:
    """A plain checkpoint in the student's stored types; ``folder`` exists and is empty.

    :param model: as :func:`~cogen.fusion.distill.student.trainer.train_student` gives it:
        whole, or with low-rank differences.
    """
    import torch

    if hasattr(model, "peft_config"):
        with scratch("adapter") as place:
            check_model(model, "the student")
            model.save_pretrained(place)
            write_merged(student, [read_adapter(place)], [1.0], folder)
        return
    # One type for all: that of the widest tensor, which is every tensor's in the checkpoints that are published.
    wide = max((info.dtype for info in student.tensors.values()), key=lambda name: getattr(torch, name).itemsize)
    model.to(getattr(torch, wide))
    check_model(model, "the student")
    model.save_pretrained(folder)
    index_folder(folder)
    copy_model_files(student.folder, folder)


def _average(setup: DistillRun, parts: Sequence[Path], weights: Sequence[float]) -> Path:
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
        copy_model_files(setup.student.folder, part)

    return made_once(cached("distill", f"average-{key[7:39]}"), make)
