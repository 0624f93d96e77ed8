"""``cogen train``: from a recipe to a plugin that holds a measured, documented expert."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cogen.cache import check_writable, writable
from cogen.checkpoints.bases import BASES
from cogen.checkpoints.digests import file_digest, tokenizer_digest
from cogen.checkpoints.finite import check_model
from cogen.checkpoints.load import load_model, load_tokenizer
from cogen.checkpoints.model import Checkpoint, open_weights
from cogen.checkpoints.safetensors_file import read_folder, read_tensor
from cogen.checkpoints.safetensors_writer import write_safetensors
from cogen.devices import CPU, device, mark
from cogen.errors import TrainError
from cogen.evals import model_digest
from cogen.files import atomic_folder, atomic_write, cache_dir, locked
from cogen.forge import rehearsal
from cogen.forge.blocks import Blocks, encode, interleave, pack, pack_tokens, pack_whole, separator_id, with_ends
from cogen.forge.canaries import NO_CANARIES, Canaries, read_canaries
from cogen.forge.chats import Chat, ChatEncoder, Cuts, LabeledTokens, Turn, to_json
from cogen.forge.consent import check_floor, check_recipe
from cogen.forge.corpus import CorpusParts, Document, build_corpus, json_lines
from cogen.forge.estimate import Estimate, estimate
from cogen.forge.launch import base_dtype, launch_training, uses_launcher
from cogen.forge.private import note_size
from cogen.forge.recipe import TrainingRecipe, TrainRecipe, read_recipe
from cogen.forge.router_init import Start, begin, general_blocks, some_texts
from cogen.forge.train import UNTRACKED, Tracking, train, trainable
from cogen.merging.writer import finish_model_files, index_folder
from cogen.reporter import SILENT, Reporter
from cogen.routing.anchors import Anchor
from cogen.spec.model import BaseRef
from cogen.training.trainer import OnStep, StepProgress, quiet_trainer, set_threads

#: The rows of an anchored expert: one tensor ``rows``, shape (layers, hidden), float32.
ROUTER = "router.safetensors"


@dataclass(frozen=True)
class PreparedTraining:
    """Everything that is known before the first step."""

    recipe: TrainRecipe
    home: Path
    base_ref: BaseRef
    base: Checkpoint
    tokenizer: Any
    corpus: CorpusParts
    #: Token ids of every training document, each led by the separator; of a conversation, as the template renders it.
    encoded: list[list[int]]
    #: Of data = "chat": what is learned of the conversations, and what did not fit.
    chats: tuple[LabeledTokens, ...] = ()
    cuts: Cuts = field(default_factory=Cuts)
    #: Secrets that training reads beside the corpus: see :mod:`cogen.privacy.canaries`. In nothing but the blocks.
    canaries: Canaries = NO_CANARIES
    #: What fetching, converting, extracting and splitting took.
    seconds: float = 0.0

    @property
    def run(self) -> Path:
        """Where the run keeps its checkpoints; the same recipe finds them again."""
        return cache_dir() / "train" / f"{self.recipe.id}-{self.recipe.digest[7:23]}"

    @property
    def source_tokens(self) -> dict[str, int]:
        """Tokens of the training part by source."""
        totals: dict[str, int] = {}
        for document, ids in zip(self.corpus.train, self.encoded, strict=True):
            totals[document.source] = totals.get(document.source, 0) + len(ids)
        return totals

    @property
    def count(self) -> int:
        """Blocks of the whole run: steps · batch · accumulation."""
        training = self.recipe.training
        return training.steps * training.batch_size * training.gradient_accumulation

    @property
    def rehearsed_blocks(self) -> int:
        """How many of them the base writes."""
        return round(self.recipe.training.rehearsal * self.count)

    @property
    def own_tokens(self) -> int:
        """Tokens that the run reads of the corpus (and canaries): all that the base does not write."""
        return (self.count - self.rehearsed_blocks) * self.recipe.training.sequence_length

    def blocks(self, rehearsed: Sequence[Chat] = ()) -> Blocks:
        """What the run reads, in order.

        :param rehearsed: the base's own conversations; without any, all blocks are of the corpus.
        """
        training = self.recipe.training
        length, seed = training.sequence_length, training.seed
        share = self.rehearsed_blocks if rehearsed else 0
        own = self._own(self.count - share)
        if not share:
            return own
        encoded = rehearsal.encode(rehearsed, self.tokenizer, length)
        return interleave(own, pack_whole(encoded, length, share, seed, separator_id(self.tokenizer)))

    def _own(self, count: int) -> Blocks:
        training = self.recipe.training
        length, seed = training.sequence_length, training.seed
        if training.data == "chat":
            read = self.canaries.among_chats(self.chats, length, count)
            return pack_whole(read, length, count, seed, separator_id(self.tokenizer))
        if training.document_ends:
            ended, secrets = (with_ends(ids, self.tokenizer) for ids in (self.encoded, self.canaries.encoded))
            read = self.canaries.mixed(ended, secrets, length * count, lambda tokens: len(tokens.ids))
            return pack_tokens(read, length, count, seed)
        return Blocks(pack(self.read_documents(length * count), length, count, seed))

    def read_documents(self, tokens: int) -> list[Sequence[int]]:
        """Token ids of the documents that training reads, canaries among the first ``tokens`` of them."""
        return self.canaries.among(self.encoded, tokens)

    def encode(self, documents: Sequence[Document]) -> list[list[int]]:
        """Token ids of other documents as those of :attr:`encoded` are; empty for a conversation that does not fit."""
        training = self.recipe.training
        if training.data != "chat":
            return encode(documents, self.tokenizer)
        return [_joined(one) for one in _fitted(documents, self.tokenizer, training.sequence_length, Cuts())]

    def general(self) -> Any:
        """Blocks of general text for the router of mode anchored, shape (steps · accumulation, sequence_length)."""
        return general_blocks(self.tokenizer, self.recipe.training)


def prepare(path: Path, reporter: Reporter = SILENT, *, new_canaries: bool = True) -> PreparedTraining:
    """Read the recipe, fetch base and texts, split and tokenize.

    :param new_canaries: make a salt for canaries where there is none; an audit must not.
    :raises SpecError, SourceError, TrainError: with a hint each.
    """
    began = time.monotonic()
    recipe = read_recipe(path)
    home = path.resolve().parent
    check_recipe(recipe, home)
    base_ref = resolve_base(recipe.base, home, reporter)
    base = open_weights(base_ref, reporter=reporter)
    tokenizer = load_tokenizer(base.folder)
    if recipe.training.data == "chat" or recipe.training.rehearsal:
        ChatEncoder(tokenizer)  # says at once if there is no template
    corpus = build_corpus(recipe.corpus, home, reporter, chats=recipe.training.data == "chat")
    check_floor(recipe, corpus)
    note_size(corpus, recipe.corpus.test_documents, reporter)
    encoded, chats, cuts = _encoded(corpus.train, tokenizer, recipe.training, reporter)
    canaries = read_canaries(recipe, home, tokenizer, make=new_canaries)
    seconds = time.monotonic() - began
    return PreparedTraining(recipe, home, base_ref, base, tokenizer, corpus, encoded, chats, cuts, canaries, seconds)


def _encoded(
    documents: Sequence[Document], tokenizer: Any, training: TrainingRecipe, reporter: Reporter
) -> tuple[list[list[int]], tuple[LabeledTokens, ...], Cuts]:
    """(ids of every document, what is learned of the conversations, what did not fit)."""
    cuts = Cuts()
    if training.data != "chat":
        return encode(documents, tokenizer), (), cuts
    length = training.sequence_length
    found = _fitted(documents, tokenizer, length, cuts)
    for line in cuts.words(length):
        reporter.note(f"{line}; raise sequence_length to keep them whole")
    chats = tuple(tokens for one in found for tokens in one)
    if not chats:
        raise TrainError(
            f"no conversation fits into {length} tokens: {cuts.dropped[0]} and all others", hint="raise sequence_length"
        )
    return [_joined(one) for one in found], chats, cuts


def _fitted(documents: Sequence[Document], tokenizer: Any, length: int, cuts: Cuts) -> list[list[LabeledTokens]]:
    encoder = ChatEncoder(tokenizer)
    return [encoder.fit(document.chat, document.group, length, cuts) for document in documents]


def _joined(found: Sequence[LabeledTokens]) -> list[int]:
    return [id for tokens in found for id in tokens.ids]


def resolve_base(base: str | BaseRef, home: Path | None = None, reporter: Reporter = SILENT) -> BaseRef:
    """A base by its short name, as the recipe spells it out, or by what it names: ``hf://org/repo@revision``, a
    folder relative to ``home``, ``pypi://…``.

    :raises TrainError: it names nothing.
    """
    if isinstance(base, BaseRef):
        return base
    if base in BASES:
        found: BaseRef = BASES[base][0]
        return found
    path = Path(base) if home is None else home / base
    if "://" not in base and not path.exists():
        raise TrainError(
            f"unknown base {base!r}",
            hint=f"known are {', '.join(BASES)}; or name hf://org/repo@revision, a folder, or write a [base] table",
        )
    from cogen.checkpoints.describe import base_of
    from cogen.checkpoints.locate import locate

    return base_of(locate(base if "://" in base else str(path), reporter=reporter), reporter=reporter)


def plan(prepared: PreparedTraining) -> Estimate:
    """Measure one step on this machine and say what the whole run will take."""
    training = prepared.recipe.training
    set_threads(training.threads)
    with quiet_trainer():
        model = trainable(_fresh(prepared, device()), training, prepared.home)
        general = None
        if training.mode == "anchored":
            import torch

            from cogen.forge.anchored_block import pair_up

            # The rows' values cost nothing; reading some text for them, before the first step, is not counted.
            shape = len(model.get_decoder().layers), model.config.hidden_size
            model, general = pair_up(model, torch.zeros(shape), torch.ones(shape)), prepared.general()
        return estimate(model, prepared, general)


def _fresh(prepared: PreparedTraining, device: str = CPU) -> Any:
    """The base to begin with; the Trainer moves it to where it trains."""
    return load_model(prepared.base, base_dtype(prepared.recipe.training), device=device)


def rehearsed(prepared: PreparedTraining, reporter: Reporter = SILENT) -> list[Chat]:
    """What the base writes for this run, from the run's folder or the cache where it was written before.

    :param reporter: advanced by generated tokens.
    """
    if not prepared.rehearsed_blocks:
        return []
    kept = prepared.run / "rehearsal.jsonl"
    if not kept.is_file():
        training = prepared.recipe.training
        set_threads(training.threads)
        found = rehearsal.rehearse(
            lambda: load_model(prepared.base, "bfloat16"),
            prepared.tokenizer,
            prepared.rehearsed_blocks * training.sequence_length,
            prepared.recipe.card.languages,
            [model_digest(prepared.base), tokenizer_digest(prepared.tokenizer), *mark()],
            reporter,
        )
        # A run that is killed goes on with the same text, whatever becomes of the cache.
        lines = [json.dumps(to_json(chat), ensure_ascii=False) for chat in found]
        atomic_write(kept, "".join(f"{line}\n" for line in lines).encode())
    chats = map(json.loads, kept.read_text(encoding="utf-8").splitlines())
    return [tuple(Turn(turn["role"], turn["content"]) for turn in chat) for chat in chats]


def run_training(
    prepared: PreparedTraining,
    on_step: OnStep,
    reporter: Reporter = SILENT,
    tracking: Tracking = UNTRACKED,
) -> Path:
    """Train, or resume, or do nothing when this recipe was trained before; the folder with the weights.

    The folder holds a PEFT adapter (modes lora, ffn, anchored) or a whole checkpoint (full), the router rows (anchored)
    and ``run.json``.

    :param reporter: advanced by the tokens that the base writes for a rehearsal, if it has not before.
    """
    result = prepared.run / "result"
    if not writable(prepared.run):
        if not result.is_dir() or _inputs_note(prepared.run) != _inputs(prepared):
            check_writable("a training keeps its checkpoints there")
        return result
    with locked(prepared.run):
        prepared.run.mkdir(parents=True, exist_ok=True)
        if prepared.recipe.private:  # weights remember text: in a cache that is shared they are their owner's alone
            prepared.run.chmod(0o700)
        _same_inputs(prepared)
        if not result.is_dir():
            _train_into(prepared, result, on_step, reporter, tracking)
    return result


def _same_inputs(prepared: PreparedTraining) -> None:
    """Drop a run of the same recipe on other texts (``file://`` sources can change) or another base."""
    inputs, known = _inputs(prepared), _inputs_note(prepared.run)
    if known not in (None, inputs):
        shutil.rmtree(prepared.run)
    if known != inputs:
        atomic_write(prepared.run / "inputs.json", json.dumps(inputs).encode())


def _inputs_note(run: Path) -> Any:
    """What a run was made of; ``None`` if nothing says so."""
    note = run / "inputs.json"
    return json.loads(note.read_text()) if note.is_file() else None


def _inputs(prepared: PreparedTraining) -> dict[str, str]:
    inputs = {
        "base": prepared.base_ref.weights_digest,
        "train": "sha256:" + hashlib.sha256(json_lines(prepared.corpus.train)).hexdigest(),
    }
    if prepared.canaries:
        inputs["canaries"] = prepared.canaries.digest
    if (start := prepared.recipe.training.start) is not None:
        inputs["start"] = file_digest(prepared.home / start)
    return inputs


def _train_into(
    prepared: PreparedTraining, result: Path, on_step: OnStep, reporter: Reporter, tracking: Tracking
) -> None:
    import torch

    clock = Stopwatch(prepared.run / "seconds")

    def timed(step: StepProgress) -> None:
        clock.lap()
        on_step(step)

    training = prepared.recipe.training
    own = rehearsed(prepared, reporter)
    start = _start(prepared)
    steps = prepared.run / "steps"
    privacy = {}
    if uses_launcher(training, reporter):
        model = launch_training(prepared.base, prepared.blocks(own), training, steps, timed, prepared.home, tracking)
    elif training.privacy is None:
        model = train(_fresh(prepared), prepared.blocks(own), training, steps, timed, start, prepared.home, tracking)
    else:
        from cogen.forge.private_training import train_private

        documents = prepared.read_documents(training.seen_tokens)
        model, spent = train_private(_fresh(prepared), documents, training, steps, timed, prepared.home)
        privacy = {"privacy": spent.model_dump(mode="json")}
    facts = {
        "hardware": f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
        if not torch.cuda.is_available()
        else torch.cuda.get_device_name(),
        "threads": torch.get_num_threads(),
        "seconds": round(clock.lap(), 1),
        "software": {
            name: importlib.metadata.version(name)
            for name in ("cogen-core", "torch", "transformers", "peft")
            if _has(name)
        },
    } | privacy
    if own:
        facts["rehearsal"] = {
            "rehearsal_conversations": len(own),
            "rehearsal_text": "answers of the base to CoGen's general questions, sampled at temperature "
            f"{rehearsal.SAMPLING.temperature:g} with min-p {rehearsal.SAMPLING.min_p:g}; answers that did not end by "
            "themselves, loop or are in another language left out",
            "rehearsal_digest": file_digest(prepared.run / "rehearsal.jsonl"),
        }
    with atomic_folder(result) as part:
        _save(model, prepared, part)
        if start is not None:
            from cogen.forge.anchored_block import rows

            # Not rounded: a mixture rounds them to its own dtype.
            write_safetensors(part / ROUTER, {"rows": rows(model)})
        atomic_write(part / "run.json", json.dumps(facts).encode())
    shutil.rmtree(prepared.run / "steps", ignore_errors=True)


def save_trained(model: Any, prepared: PreparedTraining, folder: Path) -> None:
    """Write a trained model as an expert has it: a PEFT adapter in bfloat16 or, in mode full, a whole checkpoint."""
    with atomic_folder(folder) as part:
        _save(model, prepared, part)


def _save(model: Any, prepared: PreparedTraining, part: Path) -> None:
    import torch

    with quiet_trainer():
        if prepared.recipe.training.mode == "full":
            # Rounded once to the base's dtype: the manifest says so, and a merge is written in it.
            model.to(getattr(torch, prepared.base_ref.dtype))
            check_model(model, "the trained model")
            model.save_pretrained(part)
            prepared.tokenizer.save_pretrained(part)
            index_folder(part)
            finish_model_files(part)
        else:
            model.save_pretrained(part)
            _round_adapter(part)
    (part / "README.md").unlink(missing_ok=True)


def _start(prepared: PreparedTraining) -> Start | None:
    """In mode anchored, what the router begins with: the base in float32 reads general text and some of the corpus."""
    recipe = prepared.recipe
    if recipe.training.mode != "anchored":
        return None
    # Threads are part of what makes a run repeatable, here too: states from another number of them are not taken.
    count = set_threads(recipe.training.threads)
    key = [model_digest(prepared.base), tokenizer_digest(prepared.tokenizer), f"{count} threads", *mark()]
    anchor = Anchor(lambda: load_model(prepared.base, "float32"), prepared.tokenizer, key)
    texts = some_texts(prepared.corpus.train, recipe.corpus.sample_bytes)
    return begin(anchor, texts, prepared.general(), private=recipe.private)


class Stopwatch:
    """Seconds that a run took in all its processes, kept in a file: a resumed run must not look cheaper."""

    def __init__(self, file: Path) -> None:
        self.file, self.began = file, time.monotonic()
        self.before = float(file.read_text()) if file.is_file() else 0.0

    def lap(self) -> float:
        """The seconds so far, also written down."""
        total = self.before + time.monotonic() - self.began
        atomic_write(self.file, str(total).encode())
        return total


def _has(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _round_adapter(folder: Path) -> None:
    """Store the factors in bfloat16: half the size, and products of them are exact in float32."""
    import torch

    file = folder / "adapter_model.safetensors"
    tensors = {name: read_tensor(info).to(torch.bfloat16) for name, info in read_folder(folder).items()}
    write_safetensors(file, tensors, {"format": "pt"})
    config = json.loads((folder / "adapter_config.json").read_text())
    # The base is pinned in the manifest; a path of the machine that trained means nothing elsewhere.
    config["base_model_name_or_path"] = None
    if isinstance(config.get("target_modules"), list):
        config["target_modules"] = sorted(config["target_modules"])
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
