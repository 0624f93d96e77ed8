"""What a plan says, and what it refuses before any weight is read."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from cogen.errors import CogenError, CompatibilityError, PlanError, SpecError, UsageError
from cogen.fusion.merge.lookup import resolve_method
from cogen.fusion.plan import Plan, check_unmoved, moved, read_plan
from cogen.fusion.planner import make_plan
from cogen.fusion.recipe import TOTALS, FuseRecipe, read_fuse_recipe
from cogen.host import Host
from cogen.runs.replay import recipe_of

NONE = FuseRecipe(level="none", scale=0.5)
ZERO = "sha256:" + "0" * 64


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every tensor whose bytes were read, by name."""
    import cogen.checkpoints.adapter as adapter
    import cogen.checkpoints.model as model

    names: list[str] = []
    for module, name in ((model, "read_tensor"), (model, "read_bytes"), (adapter, "read_tensor")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda info, real=real: names.append(info.name) or real(info))
    return names


class TestPlan:
    """The same options on the same experts give the same plan."""

    def test_what_it_says(self, world: Any, host: Any) -> None:
        """Experts in the order of their weights digests, with the recipe's weights; costs add up."""
        experts = [world.expert(f"e{i}", i) for i in (1, 2, 3)]
        recipe = FuseRecipe(experts={"e3": 0.5, "e1": 1.0, "e2": 2.0}, level="quick", method="linear")
        plan, inputs = make_plan(host(*experts), recipe)
        assert [e.weights_digest for e in plan.experts] == sorted(e.spec.model.weights_digest for e in experts)
        assert list(inputs.experts) == [e.id for e in plan.experts]
        assert {e.id: e.weight for e in plan.experts} == {"e1": 1.0, "e2": 2.0, "e3": 0.5}
        assert (plan.scales, plan.method, plan.strategy, plan.dtype) == (TOTALS, "linear", "merge", "bfloat16")
        assert (plan.tensors, plan.changed_tensors) == (len(inputs.base.tensors), 6)
        size = sum(info.stop - info.start for info in inputs.base.tensors.values())
        touched = sum(i.stop - i.start for n, i in inputs.base.tensors.items() if ".mlp." in n)
        assert (plan.cost.output_bytes, plan.cost.scratch_bytes) == (size, touched)
        assert [(s.owner, s.id) for s in plan.suites] == [("e1", "heldout"), ("e2", "heldout"), ("e3", "heldout")]
        assert plan.cost.search_tokens == len(TOTALS) * sum(s.dev_tokens for s in plan.suites)
        # base and composite on every suite, each expert on its own
        assert (plan.matrix, plan.cost.matrix_tokens) == ("own", 3 * sum(s.test_tokens for s in plan.suites))
        full, _ = make_plan(host(*experts), recipe.model_copy(update={"matrix": "full"}))
        assert (full.matrix, full.cost.matrix_tokens) == ("full", 5 * sum(s.test_tokens for s in plan.suites))
        assert plan.cost.forward_tokens == plan.cost.search_tokens + plan.cost.matrix_tokens
        assert all(0 < s.dev_tokens <= 500 < s.test_tokens <= 1500 for s in plan.suites)
        assert plan.license == "Apache-2.0"

    @pytest.mark.parametrize("options", [{"strategy": "merge"}, {"strategy": "moe", "scale": None}])
    def test_the_base_is_read_once(self, world: Any, host: Any, unread: list[str], options: dict[str, Any]) -> None:
        """However many adapters lie over it; and all of them see the same tensors as before."""
        from cogen.checkpoints.model import open_weights

        experts = [world.expert(f"e{i}", i) for i in range(4)]
        alone = {expert.id: open_weights(expert.spec.model) for expert in experts}
        unread.clear()
        _, inputs = make_plan(host(*experts), NONE.model_copy(update=options))
        assert {name: unread.count(name) for name in inputs.base.tensors} == dict.fromkeys(inputs.base.tensors, 1)
        assert inputs.experts == alone

    def test_another_description_of_the_base_is_opened(self, world: Any, host: Any, unread: list[str]) -> None:
        """Two manifests that name different copies of the base: each copy is verified."""
        import shutil

        base = world.base()
        shutil.copytree(world.folder / "base", world.folder / "copy")
        copy = base | {"source": f"file://{world.folder / 'copy'}"}
        experts = [world.expert("e1", 1), world.expert("e2", 2, base=copy), world.expert("e3", 3, base=copy)]
        for expert in experts[1:]:
            assert expert.spec.model.base is not None
            assert expert.spec.model.base.source == copy["source"]
        unread.clear()
        _, inputs = make_plan(host(*experts), NONE)
        assert {unread.count(name) for name in inputs.base.tensors} == {2}

    def test_is_independent_of_the_order_of_experts(self, world: Any, host: Any) -> None:
        """Also where two experts name the same lineage in another packaging."""
        import shutil

        base = world.base()
        shutil.copytree(world.folder / "base", world.folder / "again")
        again = base | {"source": f"file://{world.folder / 'again'}", "name": "The same again"}
        experts = [world.expert("e1", 1), world.expert("e2", 2, base=again), world.expert("e3", 3)]
        plans = {
            make_plan(host(*experts), NONE.model_copy(update={"experts": dict.fromkeys(order, 1.0)}))[0].digest
            for order in (["e1", "e2", "e3"], ["e3", "e2", "e1"], ["e2", "e3", "e1"])
        }
        assert len(plans) == 1

    def test_round_trip(self, world: Any, host: Any, tmp_path: Path) -> None:
        """plan → JSON → plan; and the options of a plan give the plan again."""
        machine = host(world.expert("e1", 1), world.expert("e2", 2))
        for recipe in (
            NONE,
            FuseRecipe(level="quick"),
            FuseRecipe(level="full", matrix="full", method="ties", parameters={"density": 0.3}, scale=(0.3, 0.7)),
        ):
            plan, _ = make_plan(machine, recipe)
            (tmp_path / "plan.json").write_text(plan.model_dump_json(indent=2))
            read = read_plan(tmp_path / "plan.json")
            assert (read, read.digest, read.inputs_digest) == (plan, plan.digest, plan.inputs_digest)
            assert make_plan(machine, recipe_of(read))[0] == plan
            assert moved(read, plan) == []
            check_unmoved(read, plan, "it")

    def test_the_inputs_digest_changes_with_what_decides_the_weights(self, world: Any, host: Any) -> None:
        """Weights, method, parameters and scales; not the evaluation."""
        machine = host(world.expert("e1", 1), world.expert("e2", 2))
        base = FuseRecipe(level="quick", method="ties", scale=(0.3, 0.6))
        changes: list[dict[str, Any]] = [
            {},
            {"experts": {"e1": 1.0, "e2": 0.5}},
            {"experts": {"e1": 1.0}},
            {"method": "linear"},
            {"scale": (0.3, 0.7)},
            {"parameters": {"density": 0.3}},
        ]
        digests = [make_plan(machine, base.model_copy(update=c))[0].inputs_digest for c in changes]
        assert len(set(digests)) == len(digests)
        assert make_plan(machine, base.model_copy(update={"level": "full"}))[0].inputs_digest == digests[0]
        assert make_plan(machine, base.model_copy(update={"matrix": "full"}))[0].inputs_digest == digests[0]

    def test_a_plan_without_a_matrix_measured_all_on_all(self, world: Any, host: Any, tmp_path: Path) -> None:
        """Plans of before there was a choice have no such field, keep their digest, and are measured as they were."""
        plan, _ = make_plan(host(world.expert("e1", 1)), FuseRecipe(level="quick", matrix="full"))
        fields = json.loads(plan.model_dump_json())
        assert "matrix" not in fields
        assert Plan.model_validate(fields) == plan
        own = Plan.model_validate(fields | {"matrix": "own"})
        assert json.loads(own.model_dump_json())["matrix"] == "own"
        assert (recipe_of(plan).matrix, recipe_of(own).matrix) == ("full", "own")
        assert own.digest != plan.digest


def _scratch(world: Any) -> list[Any]:
    return [world.expert("e1", 1), world.expert("e2", 2, full=True, model={"relation": "scratch", "base": None})]


def _lineages(world: Any) -> list[Any]:
    other = world.base(seed=8, name="other")
    return [world.expert("e1", 1), world.expert("e2", 2, base=other), world.expert("e3", 3)]


def _tokenizers(world: Any) -> list[Any]:
    return [world.expert("e1", 1), world.expert("e2", 2, tokenizer_is=ZERO)]


def _forbidden(world: Any) -> list[Any]:
    return [world.expert("e1", 1), world.expert("e2", 2, derivatives="no")]


def _two_share_alike(world: Any) -> list[Any]:
    return [
        world.expert("e1", 1, derivatives="share-alike", license="GPL-3.0-only"),
        world.expert("e2", 2, derivatives="share-alike", license="CC-BY-SA-4.0"),
    ]


def _none(world: Any) -> list[Any]:
    return []


def _two(world: Any) -> list[Any]:
    return [world.expert("e1", 1), world.expert("e2", 2)]


REFUSED: dict[str, tuple[Any, dict[str, Any], type[CogenError], str, str]] = {
    "scratch": (_scratch, {}, CompatibilityError, "e2 is 'scratch'", "leave e2 out"),
    "lineages": (_lineages, {}, CompatibilityError, "e1, e3 from The base; e2 from The other", "cogen fuse e1 e3"),
    "tokenizers": (_tokenizers, {}, CompatibilityError, "the tokenizer of e2", "leave e2 out"),
    "no derivatives": (_forbidden, {}, CompatibilityError, "of e2 does not allow", "leave e2 out"),
    "share-alike": (_two_share_alike, {}, CompatibilityError, "CC-BY-SA-4.0 and GPL-3.0-only", "leave one"),
    "no expert": (_none, {}, UsageError, "no expert is installed", "pip install"),
    "method": (
        _two,
        {"method": "blend"},
        UsageError,
        "unknown merge method 'blend'",
        "one of arcee_fusion, breadcrumbs",
    ),
    "parameter": (_two, {"parameters": {"k": 1.0}}, UsageError, "no parameter 'k'", "its parameters: normalize, scale"),
    "a text for a number": (
        _two,
        {"method": "ties", "parameters": {"density": "abc"}},
        UsageError,
        "density of ties must be a number (got 'abc')",
        "density=0.5",
    ),
    "a text in a gradient": (
        _two,
        {"method": "ties", "parameters": {"density": (1.0, "a")}},
        UsageError,
        "density of ties must be a number (got 'a')",
        "density=0.5",
    ),
    "a switch for a number": (
        _two,
        {"method": "ties", "parameters": {"density": True}},
        UsageError,
        "density of ties must be a number (got true)",
        "density=0.5",
    ),
    "a text for a switch": (
        _two,
        {"method": "ties", "parameters": {"normalize": "no"}},
        UsageError,
        "normalize of ties must be true or false (got 'no')",
        "normalize=true",
    ),
    "another's parameter": (_two, {"method": "ties", "parameters": {"top": 1.0}}, UsageError, "'top'", "density"),
    "density of nothing": (
        _two,
        {"method": "ties", "parameters": {"density": 0.0}},
        UsageError,
        "(got 0)",
        "density 0.5",
    ),
    "density above all": (
        _two,
        {"method": "ties", "parameters": {"density": 1.5}},
        UsageError,
        "(got 1.5)",
        "density 0.5",
    ),
}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_refused_before_any_weight_is_read(world: Any, host: Any, unread: list[str], name: str) -> None:
    """Manifests alone decide; the message names the culprit, the hint what would work."""
    make, changes, kind, message, hint = REFUSED[name]
    experts = make(world)
    unread.clear()
    with pytest.raises(kind) as caught:
        make_plan(host(*experts), NONE.model_copy(update=changes))
    assert message in caught.value.message
    assert hint in str(caught.value.hint)
    assert unread == []


class TestRefusedLater:
    """What only the base's own files can tell."""

    def test_the_tokenizer_of_a_single_expert(self, world: Any, host: Any) -> None:
        """Compared with the base's."""
        with pytest.raises(CompatibilityError, match="the tokenizer of e1 is not its base's") as caught:
            make_plan(host(world.expert("e1", 1, tokenizer_is=ZERO)), NONE)
        assert caught.value.hint

    def test_other_tensors(self, world: Any, host: Any) -> None:
        """A whole checkpoint with another shape."""
        from support.tiny import save_model

        base = world.base()
        save_model(world.folder / "weights-e1", dtype="bfloat16", intermediate_size=48)
        with pytest.raises(CompatibilityError, match=r"differ at model\.layers\.0\.mlp\.down_proj") as caught:
            make_plan(host(world.expert("e1", base=base, full=True)), NONE)
        assert "leave e1 out" in str(caught.value.hint)

    def test_a_search_needs_something_to_measure(self, world: Any, host: Any) -> None:
        """Without an evaluation, or without a bits-per-byte suite, the scale is the user's to give."""
        expert = world.expert("e1", 1)
        with pytest.raises(UsageError, match="without an evaluation") as caught:
            make_plan(host(expert), FuseRecipe(level="none", scale=(0.3, 0.6)))
        assert "--scale" in str(caught.value.hint)
        suites = [s.model_dump(mode="json") | {"metric": "acc"} for s in expert.spec.suites]
        with pytest.raises(UsageError, match="no expert has a bits-per-byte suite") as caught:
            make_plan(host(world.expert("e1", 1, suites=suites)), FuseRecipe(level="quick", scale=(0.3, 1.0)))
        assert "--scale" in str(caught.value.hint)

    def test_which_scales_are_tried(self, world: Any, host: Any) -> None:
        """A method that adds differences up shares the wanted sums; one expert alone is taken as it is."""
        one, two = world.expert("e1", 1), world.expert("e2", 2)

        def scales(*experts: Any, **recipe_of: Any) -> tuple[float, ...]:
            return make_plan(host(*experts), FuseRecipe(level="quick", **recipe_of))[0].scales

        assert scales(one, two, method="linear") == TOTALS
        assert scales(one, two) == tuple(total / 2 for total in TOTALS)
        assert scales(one, two, experts={"e1": 1.0, "e2": 3.0}) == tuple(float(f"{t / 4:.3g}") for t in TOTALS)
        assert scales(one) == (1.0,)
        assert scales(one, two, scale=(0.6, 0.3, 0.6)) == (0.3, 0.6)

    def test_a_method_without_a_scale(self, world: Any, host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """A scale that would be ignored is refused; the default search is simply left out."""
        monkeypatch.setattr(host, "methods", lambda self: {"mean": "plugin:mean"})
        real = Host.resolve
        monkeypatch.setattr(Host, "resolve", staticmethod(lambda t: mean if t == "plugin:mean" else real(t)))
        machine = host(world.expert("e1", 1))
        with pytest.raises(UsageError, match="takes no scale") as caught:
            make_plan(machine, NONE.model_copy(update={"method": "mean"}))
        assert caught.value.hint
        plan, _ = make_plan(machine, FuseRecipe(method="mean", level="none"))
        assert plan.scales == (1.0,)
        assert make_plan(machine, recipe_of(plan))[0] == plan


def mean(base: Any, experts: Any, weights: Any) -> Any:
    """A method of a plugin that knows no scale."""
    return sum(experts) / len(experts)


def test_a_method_that_needs_a_parameter(monkeypatch: pytest.MonkeyPatch, host: Any) -> None:
    """Named before anything is fetched."""

    def needy(base: Any, experts: Any, weights: Any, *, k: float) -> Any:
        return base

    monkeypatch.setattr(host, "methods", lambda self: {"needy": "x:y"})
    monkeypatch.setattr(Host, "resolve", staticmethod(lambda target: needy))
    with pytest.raises(UsageError, match="'k'") as caught:
        resolve_method(host(), "needy", {})
    assert "k=0.5" in str(caught.value.hint)
    assert resolve_method(host(), "needy", {"k": 1.0}).parameters == {"k": inspect.Parameter.empty}


@pytest.mark.parametrize(
    ("licenses", "expected"),
    [
        (["Apache-2.0"], "Apache-2.0"),
        (["MIT"], "Apache-2.0 AND MIT"),
        (["MIT", "MIT", "Apache-2.0"], "Apache-2.0 AND MIT"),
        (["MIT OR Apache-2.0", "BSD-3-Clause"], "Apache-2.0 AND BSD-3-Clause AND (MIT OR Apache-2.0)"),
        (["MIT", "unknown"], "unknown"),
        (["MIT", "*GPL-3.0-only"], "GPL-3.0-only"),
    ],
)
def test_the_license_of_the_composite(world: Any, host: Any, licenses: list[str], expected: str) -> None:
    """All and the base's (Apache-2.0); one that must be kept (marked *) before the others; nothing unknown hidden."""
    experts = [
        world.expert(f"e{i}", i, license=text.lstrip("*"), derivatives="share-alike" if text[0] == "*" else "allowed")
        for i, text in enumerate(licenses)
    ]
    plan, _ = make_plan(host(*experts), NONE)
    assert plan.license == expected
    different = len({text.lstrip("*") for text in licenses}) > 1
    assert [n.message for n in plan.notes if "licenses" in n.message] == (
        ["the experts have different licenses: read them before you publish"] if different else []
    )


class TestMoved:
    """`cogen fuse --plan` refuses when a digest has moved, and says whose."""

    @pytest.fixture
    def plan(self, world: Any, host: Any) -> Plan:
        return make_plan(host(world.expert("e1", 1), world.expert("e2", 2)), FuseRecipe(level="quick"))[0]

    def changed(self, plan: Plan, path: str, value: Any) -> Plan:
        document = json.loads(plan.model_dump_json())
        place: Any = document
        *parts, last = path.split(".")
        for part in parts:
            place = place[int(part) if part.isdigit() else part]
        place[int(last) if last.isdigit() else last] = value
        return Plan.model_validate(document)

    @pytest.mark.parametrize(
        ("path", "text"),
        [
            ("experts.0.weights_digest", "the weights digest of"),
            ("experts.1.file_digest", "the file digest of"),
            ("experts.0.spec_digest", "the spec digest of"),
            ("experts.0.data_digest", "the data digest of"),
            ("base.weights_digest", "the base has another weights digest"),
            ("base.file_digest", "the base has another file digest"),
            ("tokenizer_digest", "the tokenizer has another digest"),
            ("suites.0.dev_digest", "the data of suite e1/heldout have moved"),
            ("suites.1.test_digest", "the data of suite e2/heldout have moved"),
            ("suites.0.task_digest", "the task of suite e1/heldout has moved"),
        ],
    )
    def test_digests(self, plan: Plan, path: str, text: str) -> None:
        """Each kind, in either direction."""
        other = self.changed(plan, path, ZERO)
        for saved, now in ((plan, other), (other, plan)):
            with pytest.raises(PlanError, match=text) as caught:
                check_unmoved(saved, now, "the plan")
            assert "cogen plan -o" in str(caught.value.hint)

    def test_an_expert_that_is_gone(self, plan: Plan) -> None:
        """Named; several movements are counted."""
        now = plan.model_copy(update={"experts": ()})
        with pytest.raises(PlanError, match=r"expert e1 is not installed any more \(and 1 more\)"):
            check_unmoved(plan, now, "the plan")

    def test_a_suite_that_came_or_went(self, plan: Plan) -> None:
        """Unless the level is another one, which a replay may choose."""
        fewer = plan.model_copy(update={"suites": plan.suites[1:]})
        for saved, now in ((plan, fewer), (fewer, plan)):
            with pytest.raises(PlanError, match="suite e1/heldout came or went"):
                check_unmoved(saved, now, "the plan")
        check_unmoved(plan, fewer.model_copy(update={"level": "none"}), "the lock")

    def test_experts_in_another_order(self, plan: Plan) -> None:
        """Weights belong to experts by their place: a plan that was reordered by hand would give them to others."""
        turned = plan.model_copy(update={"experts": plan.experts[::-1]})
        with pytest.raises(PlanError, match="order"):
            check_unmoved(turned, plan, "the plan")

    def test_what_is_no_plan(self, plan: Plan, tmp_path: Path) -> None:
        """Missing, not JSON, another version, an unknown field: each with its place and a hint."""
        document = json.loads(plan.model_dump_json())
        for text, reported in {
            "{": "JSON",
            "[]": "object",
            json.dumps(document | {"version": 3}): "version",
            json.dumps(document | {"extra": 1}): "extra",
            json.dumps({k: v for k, v in document.items() if k != "base"}): "base",
        }.items():
            (tmp_path / "plan.json").write_text(text)
            with pytest.raises(SpecError, match=reported) as caught:
                read_plan(tmp_path / "plan.json")
            assert caught.value.hint
        with pytest.raises(SpecError, match="cannot be read"):
            read_plan(tmp_path / "nothing.json")


class TestRecipe:
    """``recipe.toml`` of an integrator."""

    def test_a_whole_one(self, tmp_path: Path) -> None:
        """Values, whole numbers too."""
        (tmp_path / "r.toml").write_text(
            'method = "ties"\nscale = 1\nlevel = "none"\n[experts]\ne1 = 2\n[parameters]\ndensity = 0.5'
        )
        recipe = read_fuse_recipe(tmp_path / "r.toml")
        assert recipe == FuseRecipe(
            method="ties", scale=1.0, level="none", experts={"e1": 2.0}, parameters={"density": 0.5}
        )
        assert isinstance(recipe.scale, float)

    @pytest.mark.parametrize(
        ("text", "place"),
        [
            ("scales = [1]", "scales"),
            ("scale = 'x'", "scale"),
            ("scale = nan", "scale"),
            ("scale = [0.1, inf]", "scale"),
            ("scale = 1e38", "scale"),
            ("[experts]\ne1 = 1e38", "experts.e1"),
            ("[experts.e1]\nweight = 1e38", "experts.e1"),
            ("[experts.e1]\nweight = [1, -1e38]", "experts.e1"),
            ("level = 'fast'", "level"),
            ("[experts]\ne1 = 0", "experts.e1"),
            ("[experts]\ne1 = -1", "experts.e1"),
            ("[experts]\ne1 = inf", "experts.e1"),
            ("[experts]\n'E 1' = 1", "experts.E 1"),
            ("[parameters]\nk = nan", "parameters.k"),
            ("strategy = 2", "strategy"),
            ("x", "TOML"),
        ],
    )
    def test_mistakes_name_their_field(self, tmp_path: Path, text: str, place: str) -> None:
        """One line with the place, and a hint."""
        (tmp_path / "r.toml").write_text(text)
        with pytest.raises(SpecError) as caught:
            read_fuse_recipe(tmp_path / "r.toml")
        assert place in caught.value.message
        assert caught.value.hint
