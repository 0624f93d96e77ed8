"""Runs over experts with other tokens: refusals, measurements, searches, locks and the command line."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.lexicons import END, START, save_expert
from support.runs import carry_out, execute_plan
from support.tiny import save_model, tokenizer
from support.tokenizers import OTHER_WORDS, bytewise

from cogen.artifacts.lock import read_lock
from cogen.checkpoints.digests import tokenizer_digest
from cogen.checkpoints.files import OpenFiles
from cogen.checkpoints.load import load_model, load_tokenizer
from cogen.checkpoints.model import open_folder
from cogen.cli.main import main
from cogen.errors import CogenError, CompatibilityError, EvalError, PlanError, SpecError, UsageError
from cogen.evals import count_tokens, model_digest, run_suites
from cogen.fusion.merge import calibration, measure
from cogen.fusion.plan import Plan, check_unmoved, moved
from cogen.fusion.planner import make_plan
from cogen.fusion.recipe import FuseRecipe, read_fuse_recipe
from cogen.host import Host
from cogen.runs.replay import recipe_of

NONE = FuseRecipe(level="none", scale=0.6)
UNION = NONE.model_copy(update={"tokenizer": "union"})
SEARCH = FuseRecipe(level="quick", matrix="full", scale=(0.3, 0.6), tokenizer="union")
ZERO = "sha256:" + "0" * 64


def run(machine: Any, recipe: FuseRecipe, output: Path, **options: Any) -> Any:
    return carry_out(machine, recipe, output, **options)


def bits(folder: Path) -> dict[str, str]:
    """SHA-256 of weights, tokenizer and configurations."""
    names = ("model.safetensors", "tokenizer.json", "tokenizer_config.json", "config.json", "generation_config.json")
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


@pytest.fixture
def machine(world: Any, host: Any) -> Any:
    """An adapter with the base's tokens, and a whole model with two more."""
    return host(world.expert("e1", 1), save_expert(world, "e2", added=[START, END]))


def _plain(world: Any) -> Any:
    return world.expert("e2", 2)


def _chatty(world: Any) -> Any:
    return save_expert(world, "e2", added=[START])


def _padded(world: Any) -> Any:
    return save_expert(world, "e2", rows=320)


def _untied(world: Any) -> Any:
    return save_expert(world, "e2", tied=False)


def _broken_promise(world: Any) -> Any:
    return save_expert(world, "e2", added=[START], promised=ZERO)


def _adapter(world: Any) -> Any:
    return world.expert("e2", 2, tokenizer_is=ZERO)


def _wider(world: Any) -> Any:
    return save_expert(world, "e2", added=[START], intermediate_size=48)


def _bad_template(world: Any) -> Any:
    return save_expert(world, "e2", template="{% if %}")


REFUSED: dict[str, tuple[Any, dict[str, Any], type[CogenError], str, str]] = {
    "no wish": (_chatty, {}, CompatibilityError, "the tokenizer of e2 is not that of e1", "--tokenizer union"),
    "no wish, padded": (_padded, {}, CompatibilityError, "e2 and its base differ at model.embed", "--tokenizer union"),
    "no wish, untied": (_untied, {}, CompatibilityError, "e2 and its base differ at lm_head", "--tokenizer union"),
    "no expert": (_plain, {"tokenizer": "e3"}, UsageError, "unknown tokenizer 'e3'", "base, union, e1, e2"),
    "idle": (_plain, {"transplant": "omp"}, UsageError, "transplant omp needs", "--tokenizer union"),
    "no template's expert": (_plain, {"chat_template": "e3"}, UsageError, "unknown chat template 'e3'", "e1, e2"),
    "no template": (_plain, {"chat_template": "e2"}, CompatibilityError, "e2 has no chat template", "name another"),
    "no Jinja": (
        _bad_template,
        {"chat_template": "e2"},
        UsageError,
        "invalid Jinja in the chat template",
        "correct the template",
    ),
    "promise": (_broken_promise, {"tokenizer": "union"}, CompatibilityError, "in the model folder of e2", "leave e2"),
    "adapter": (_adapter, {"tokenizer": "union"}, CompatibilityError, "in the model folder of e2", "an adapter's"),
    "others": (_wider, {"tokenizer": "union"}, CompatibilityError, "differ at model.layers.0.mlp", "leave e2 out"),
}


class TestRefused:
    """From manifests, headers, configurations and tokenizers alone."""

    @pytest.mark.parametrize("name", sorted(REFUSED))
    def test_before_an_operand_is_read(self, world: Any, host: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        """The message names the culprit, the hint what would work."""
        make, changes, kind, message, hint = REFUSED[name]
        machine = host(world.expert("e1", 1), make(world))

        def read(*_: Any) -> Any:
            raise AssertionError("a weight was read")

        monkeypatch.setattr(OpenFiles, "read", read)
        with pytest.raises(kind) as caught:
            make_plan(machine, NONE.model_copy(update=changes))
        assert message in caught.value.message
        assert hint in str(caught.value.hint)

    def test_what_could_not_be_measured(self, world: Any, host: Any) -> None:
        """A tokenizer without a token to put before a text: only where something is measured."""
        from transformers import PreTrainedTokenizerFast

        bare = PreTrainedTokenizerFast(tokenizer_object=bytewise(OTHER_WORDS, size=290).backend_tokenizer)
        state = json.loads(bare.backend_tokenizer.to_str().replace("<|endoftext|>", "<|none|>"))
        other = PreTrainedTokenizerFast(tokenizer_object=type(bare.backend_tokenizer).from_str(json.dumps(state)))
        machine = host(save_expert(world, "e2", of=other))
        with pytest.raises(EvalError, match="no token to put before a text"):
            make_plan(machine, SEARCH)
        assert make_plan(machine, UNION)[0].vocabulary is not None

    def test_a_wish_of_the_wrong_form(self, tmp_path: Path) -> None:
        """Named with its place."""
        for text, place in (
            ("tokenizer = 3", "tokenizer"),
            ('transplant = "copy"', "unknown transplant 'copy'; one of mean, subword, omp"),
            ('chat_template = "A B"', "chat_template"),
        ):
            (tmp_path / "r.toml").write_text(text)
            with pytest.raises(SpecError, match=place):
                read_fuse_recipe(tmp_path / "r.toml")


class TestMeasured:
    """Bits per byte compare across tokenizers, if all models read the same documents."""

    def test_every_model_reads_with_its_own(
        self, world: Any, host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Base, experts, candidates and composite; on the documents that the base's tokenizer takes."""
        other = bytewise(("e1test", "e2test", "word", "word", "word"), size=290, added=[START])
        machine = host(world.expert("e1", 1), save_expert(world, "e2", of=other))
        seen: list[tuple[str, str, int]] = []
        real = measure.run_suites

        def watched(load: Any, tokens: Any, suites: Any, **options: Any) -> Any:
            def checked() -> Any:
                model = load()
                seen.append((options["split"], options["tokenizer_digest"], model.config.vocab_size))
                assert tokenizer_digest(tokens) == options["tokenizer_digest"]
                return model

            return real(checked, tokens, suites, **options)

        monkeypatch.setattr(measure, "run_suites", watched)
        outcome = run(machine, SEARCH, tmp_path / "out")
        base, own = tokenizer_digest(load_tokenizer(world.folder / "base")), tokenizer_digest(other)
        written = load_tokenizer(tmp_path / "out")
        union, size = tokenizer_digest(written), max(written.get_vocab().values()) + 1
        candidates = [("dev", union, size)] * 2
        rows = [(base, 300), (base, 300), (own, len(other)), (union, size)]
        assert seen == candidates + [("test", *row) for row in rows]
        cells = outcome.matrix.cells
        for column in outcome.matrix.columns:
            assert len({cells[row][column].documents for row in cells}) == 1
        assert set(outcome.matrix.columns) == {"e1/heldout", "e2/heldout"}
        gains = outcome.matrix.gains()
        assert gains["e2"]["e1/heldout"].n == cells["base"]["e1/heldout"].n
        # The expert's tokenizer alone would have taken more of them.
        _, inputs = make_plan(machine, SEARCH)
        taken = count_tokens(load_tokenizer(world.folder / "base"), inputs.suites, "test", "quick")
        assert count_tokens(other, inputs.suites, "test", "quick") != taken

    def test_the_figures_are_those_of_the_models(self, machine: Any, world: Any, tmp_path: Path) -> None:
        """Measured by hand: the expert from its folder, the composite from the one that was written."""
        outcome = run(machine, SEARCH, tmp_path / "out")
        _, inputs = make_plan(machine, SEARCH)
        chooser = inputs.tokenizer, tokenizer_digest(inputs.tokenizer)
        for row, folder in {"e2": world.folder / "weights-e2", "composite": tmp_path / "out"}.items():
            tokens = load_tokenizer(folder)
            by_hand = run_suites(
                load_model(open_folder(folder), "bfloat16"),
                tokens,
                inputs.suites,
                model_digest=model_digest(open_folder(folder)),
                tokenizer_digest=tokenizer_digest(tokens),
                split="test",
                level="quick",
                dtype="bfloat16",
                use_cache=False,
                chooser=chooser,
            )
            assert {r.column: r.value for r in by_hand} == {
                column: cell.value for column, cell in outcome.matrix.cells[row].items()
            }

    def test_a_candidate_is_what_would_be_written(self, machine: Any, tmp_path: Path) -> None:
        """Its figures are those of the composite with its scale, on the dev splits."""
        outcome = run(machine, SEARCH, tmp_path / "out")
        assert [trial.scale for trial in outcome.trials] == [0.3, 0.6]
        assert len({trial.objective for trial in outcome.trials}) == 2
        _, inputs = make_plan(machine, SEARCH)
        for trial in outcome.trials:
            folder = tmp_path / f"out-{trial.scale}"
            run(machine, UNION.model_copy(update={"scale": trial.scale}), folder)
            tokens = load_tokenizer(folder)
            by_hand = run_suites(
                load_model(open_folder(folder), "bfloat16"),
                tokens,
                inputs.suites,
                model_digest="x",
                tokenizer_digest=tokenizer_digest(tokens),
                split="dev",
                level="quick",
                dtype="bfloat16",
                use_cache=False,
                chooser=(inputs.tokenizer, "base"),
            )
            assert {result.column: result.value for result in by_hand} == trial.bits_per_byte

    def test_the_documents_of_a_level_are_the_choosers(self, machine: Any) -> None:
        """Its counts decide, not the model's; such a figure is another measurement than the model's own."""
        _, inputs = make_plan(machine, SEARCH)
        model = load_model(inputs.base, "float32")

        def measured(chooser: Any) -> Any:
            return run_suites(
                model,
                tokenizer(),
                inputs.suites[:1],
                model_digest="m",
                tokenizer_digest="t",
                split="dev",
                level="quick",
                dtype="float32",
                chooser=chooser,
            )[0]

        own, same, coarse = measured(None), measured((tokenizer(), "t")), measured((_Words(), "words"))
        assert same.cached
        assert same == own
        assert not coarse.cached
        assert coarse.key != own.key
        assert coarse.n > own.n

    def test_calibration_reads_with_each_experts_own(
        self, machine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """RegMean's inputs of the layers, with and without the wish."""
        seen = []
        real = calibration.write_grams

        def watched(model: Any, tokens: Any, *rest: Any) -> None:
            seen.append(len(tokens))
            real(model, tokens, *rest)

        monkeypatch.setattr(calibration, "write_grams", watched)
        run(machine, FuseRecipe(level="none", method="regmean", tokenizer="union"), tmp_path / "out")
        assert sorted(seen) == [300, 302]


class _Words:
    """A tokenizer that counts words."""

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [0] * len(text.split())}


class TestAgain:
    """Plans and locks hold the vocabulary."""

    @pytest.mark.parametrize("transplant", ["mean", "subword", "omp"])
    def test_a_replay_gives_the_same_files(
        self, machine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transplant: str
    ) -> None:
        """At 1 and 2 threads with empty caches, from the lock alone; without searching."""
        first = run(machine, SEARCH.model_copy(update={"transplant": transplant}), tmp_path / "out")
        lock, threads = read_lock(tmp_path / "out"), torch.get_num_threads()
        monkeypatch.setattr("cogen.fusion.build.measure_candidate", None)
        try:
            for count in (1, 2):
                monkeypatch.setenv("COGEN_CACHE", str(tmp_path / f"cache{count}"))
                torch.set_num_threads(count)
                wanted = recipe_of(lock.plan, scale=lock.scale, parameters=lock.parameters, level="none")
                plan, inputs = make_plan(machine, wanted)
                check_unmoved(lock.plan, plan, "the lock")
                made = lock.plan.model_copy(update={"level": plan.level, "suites": plan.suites})
                execute_plan(machine, made, inputs, tmp_path / f"again{count}", replay=lock)
                assert bits(tmp_path / f"again{count}") == bits(tmp_path / "out")
        finally:
            torch.set_num_threads(threads)
        assert first.lock.plan.transplant == transplant

    def test_round_trip(self, machine: Any) -> None:
        """plan → JSON → plan, and the wishes of a plan give the plan again."""
        for changes in ({}, {"transplant": "omp"}, {"tokenizer": "e2"}, {"tokenizer": "base"}):
            plan, _ = make_plan(machine, SEARCH.model_copy(update=changes))
            read = Plan.model_validate_json(plan.model_dump_json())
            assert (read, read.digest, read.inputs_digest) == (plan, plan.digest, plan.inputs_digest)
            assert make_plan(machine, recipe_of(read))[0] == plan
            assert moved(read, plan) == []

    def test_what_moves(self, machine: Any) -> None:
        """A tokenizer, the tokens, or the rows that are taken for them; each makes other inputs."""
        plan, _ = make_plan(machine, UNION)
        assert plan.vocabulary is not None
        other = plan.experts[0].model_copy(update={"tokenizer_digest": ZERO})
        for now, text in (
            (plan.model_copy(update={"experts": (other, *plan.experts[1:])}), f"tokenizer digest of {other.id}"),
            (_vocabulary(plan, digest=ZERO), "the composite would have another vocabulary"),
            (_vocabulary(plan, tokenizer_digest=ZERO), "the composite would have another vocabulary"),
        ):
            with pytest.raises(PlanError, match=text):
                check_unmoved(plan, now, "the plan")
            assert now.inputs_digest != plan.inputs_digest

    def test_plans_of_before(self, world: Any, host: Any) -> None:
        """Without the fields they are read, hold, and have the inputs that they had."""
        plan, _ = make_plan(host(world.expert("e1", 1)), NONE)
        document = json.loads(plan.model_dump_json())
        for name in ("tokenizer", "transplant", "chat_template", "vocabulary"):
            del document[name]
        for expert in document["experts"]:
            del expert["tokenizer_digest"]
        old = Plan.model_validate(document)
        assert moved(old, plan) == moved(plan, old) == []
        assert old.inputs_digest == plan.inputs_digest

    def test_an_expert_that_changed_its_tokens(self, world: Any, host: Any) -> None:
        """The same weights with another tokenizer: the saved plan is refused."""
        plan, _ = make_plan(host(world.expert("e1", 1), save_expert(world, "e2", added=[START, END])), UNION)
        later = save_expert(world, "e2", of=bytewise(added=[END, START]))
        now, _ = make_plan(host(world.expert("e1", 1), later), UNION)
        assert now.vocabulary != plan.vocabulary
        with pytest.raises(PlanError, match="of e2"):
            check_unmoved(plan, now, "the plan")


def _vocabulary(plan: Plan, **changes: Any) -> Plan:
    assert plan.vocabulary is not None
    return plan.model_copy(update={"vocabulary": plan.vocabulary.model_copy(update=changes)})


class TestCommands:
    """`cogen plan` and `cogen fuse`."""

    @pytest.fixture(autouse=True)
    def _installed(self, world: Any, host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        chatty = save_expert(world, "e2", added=[START, END], template="{{ messages[0].content }}")
        machine = host(world.expert("e1", 1), chatty)
        monkeypatch.setattr(Host, "discover", staticmethod(lambda *_, **__: machine))

    def call(self, capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
        capsys.readouterr()
        assert main([*arguments, "--json"]) == code
        return json.loads(capsys.readouterr().out)

    def test_options_recipe_plan_and_lock(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        """Four roads to the same bits; the card and the report say whose tokens they are."""
        asked = ["--tokenizer", "union", "--transplant", "subword", "--chat-template", "e2", "--level", "none"]
        asked += ["--scale", "0.5"]
        (tmp_path / "r.toml").write_text(
            'tokenizer = "union"\ntransplant = "subword"\nchat_template = "e2"\nlevel = "none"\nscale = 0.5\n'
        )
        out = [str(tmp_path / f"out{i}") for i in range(4)]
        self.call(capsys, "fuse", *asked, "-o", out[0])
        self.call(capsys, "fuse", "--recipe", str(tmp_path / "r.toml"), "-o", out[1])
        plan = self.call(capsys, "plan", *asked, "-o", str(tmp_path / "plan.json"))
        assert (plan["tokenizer"], plan["transplant"], plan["chat_template"]) == ("union", "subword", "e2")
        self.call(capsys, "fuse", "--plan", str(tmp_path / "plan.json"), "-o", out[2])
        self.call(capsys, "fuse", "--lock", f"{out[0]}/cogen.lock", "-o", out[3])
        assert all(bits(Path(folder)) == bits(Path(out[0])) for folder in out)
        assert (Path(out[0]) / "chat_template.jinja").read_text() == "{{ messages[0].content }}"
        printed = (
            "that of its base with 2 tokens of the experts added (302 rows of embeddings), its chat template that of e2"
        )
        assert f"its tokenizer is {printed}" in (Path(out[0]) / "README.md").read_text()
        report = (Path(out[0]) / "report.html").read_text()
        assert f"Its tokenizer is {printed}." in report
        assert "&lt;|im_start|&gt;" in report
        assert main(["plan", *asked]) == 0
        assert f"its tokenizer is {printed}" in " ".join(capsys.readouterr().out.split())

    def test_mistakes(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        """With a hint; a saved plan or a recipe of mergekit takes none of the options."""
        assert "--tokenizer union" in self.call(capsys, "plan", "--level", "none", "--scale", "0.5", code=1)["hint"]
        for option in ("--tokenizer", "--transplant", "--chat-template"):
            for other in (["--plan", "p.json"], ["--from-mergekit", "c.yml"]):
                assert main(["fuse", *other, option, "union"]) != 0


def test_an_expert_without_a_tokenizer_has_its_bases(world: Any, host: Any, tmp_path: Path) -> None:
    """A whole model in a folder without one, as trainers leave it: also where others bring tokens."""
    folder = save_model(world.folder / "weights-e1", 1, "bfloat16")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    machine = host(world.expert("e1", full=True), save_expert(world, "e2", added=[START]))
    outcome = run(machine, SEARCH, tmp_path / "out")
    assert outcome.lock.plan.vocabulary.size == 301
    assert sorted(outcome.matrix.cells) == ["base", "composite", "e1", "e2"]


def test_one_expert_with_tokens_in_every_form(world: Any, host: Any, tmp_path: Path) -> None:
    """A method of two pairs it with its base, whose embedding grows with it; t = 1 is the expert."""
    machine = host(save_expert(world, "e2", added=[START, END]))
    recipe = FuseRecipe(level="none", method="slerp", parameters={"t": 1.0}, tokenizer="union")
    run(machine, recipe, tmp_path / "out")
    ours, theirs = (open_folder(path) for path in (tmp_path / "out", world.folder / "weights-e2"))
    assert ours.weights_digest == theirs.weights_digest
