"""Where text may go: for every level and kind of personal data, what of it is found in the package that ships."""

from __future__ import annotations

import json
import random
import re
import shutil
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.training import source, write_texts

from cogen.checkpoints.digests import file_digest
from cogen.checkpoints.load import load_model
from cogen.cli.main import main
from cogen.errors import TrainError
from cogen.evals.private import read_private, text_digest
from cogen.files import cache_dir
from cogen.forge import package as packaging
from cogen.forge.build import PreparedTraining, prepare, run_training
from cogen.forge.package import Packaged, package
from cogen.reporter import Silent
from cogen.routing.anchors import Anchor
from cogen.routing.embedder import DEFAULT, Embedder
from cogen.spec.expert import ExpertSpec

LEVELS = ["nothing", "figures", "samples", "heldout"]
PERSONAL = ["none", "removed", "present", "unknown"]


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)


@pytest.fixture
def built(recipe: Any, tmp_path: Path) -> Callable[..., tuple[Path, Packaged]]:
    """``built(sources, …)``: folder of the recipe and what was packaged. One training serves all calls of a test."""
    results: list[Path] = []

    def make(*sources: dict[str, Any], **changes: Any) -> tuple[Path, Packaged]:
        prepared = prepared_for(recipe, *sources, **changes)
        if not results:
            results.append(run_training(prepared, lambda _: None))
        return prepared.home, package(prepared, results[0])

    return make


class Notes(Silent):
    """Keeps what is noted."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def prepared_for(recipe: Any, *sources: dict[str, Any], **changes: Any) -> PreparedTraining:
    home: Path = recipe().parent
    write_texts(home / "letters", 60, "letter")
    return prepare(recipe(corpus={"sources": list(sources)}, **changes))


def letters(**changes: Any) -> dict[str, Any]:
    """The private source."""
    found = source(name="letters", uri="file://letters", personal_data="present") | changes
    return {name: value for name, value in found.items() if name != "heldout"}


def runs(text: str) -> set[str]:
    """Every run of 8 words."""
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[i : i + 8]) for i in range(len(words) - 7)}


def private_runs(folder: Path) -> set[str]:
    return set().union(*(runs(part) for file in folder.glob("*.txt") for part in file.read_text().split("\n\n")))


def leaked(folder: Path, private: set[str]) -> set[str]:
    """Files below ``folder`` that hold a run of the private text, whatever kind of file they are."""
    return {
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*")
        if file.is_file() and runs(file.read_bytes().decode(errors="ignore")) & private
    }


class TestWhatLeaves:
    """`leaves` and `personal_data` of a source, each combination."""

    @pytest.mark.parametrize("personal", PERSONAL)
    def test_every_level(self, built: Any, personal: str) -> None:
        """No run of 8 words below `samples`; there in samples alone; at `heldout` in suites too; or an error."""
        for level in LEVELS:
            one = letters(leaves=level, personal_data=personal)
            if personal in ("present", "unknown") and level in ("samples", "heldout"):
                with pytest.raises(TrainError, match=f"source 'letters': leaves = \"{level}\"") as caught:
                    built(source(), one)
                assert 'leaves = "figures"' in str(caught.value.hint)
                continue
            home, packaged = built(source(), one)
            found = leaked(home / "src", private_runs(home / "letters"))
            name = "cogen_plugin_tiny"
            expected = {
                "samples": {f"{name}/samples.jsonl"},
                "heldout": {f"{name}/samples.jsonl", f"{name}/suites/dev.jsonl", f"{name}/suites/test.jsonl"},
            }
            assert found == expected.get(level, set()), level
            suites = [suite.id for suite in packaged.expert.private_suites]
            assert suites == (["private"] if level in ("figures", "samples") else []), level
            assert packaged.at_home is None, level
            assert [suite.id for suite in packaged.expert.suites] == ["heldout"]

    @pytest.mark.parametrize("level", ["nothing", "figures"])
    def test_everything_private(self, built: Any, level: str) -> None:
        """Without any public text: weights and manifest alone, which names no text and no digest of it without salt."""
        home, packaged = built(letters(leaves=level))
        root = home / "src" / "cogen_plugin_tiny"
        names = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
        assert {name.partition("/")[0] for name in names} == {"__init__.py", "expert.toml", "weights"}
        assert leaked(home / "src", private_runs(home / "letters")) == set()
        spec = packaged.expert
        assert ExpertSpec.model_validate(tomllib.loads((root / "expert.toml").read_text())) == spec
        assert (spec.schema_version, spec.suites, spec.samples) == (2, (), None)
        if level == "nothing":
            assert spec.private_suites == ()
            assert packaged.at_home is not None
            assert packaged.at_home.documents == 30
            assert f"{packaged.at_home.expert.value}" not in (root / "expert.toml").read_text()
            assert not (home / "private").exists()
        else:
            (suite,) = spec.private_suites
            task = read_private(home / "private")
            assert leaked(home / "private", private_runs(home / "letters")) == {"dev.jsonl", "test.jsonl"}
            assert suite.text_digest == task.digests["test"] == text_digest(task.salt, task.texts("test"))
            assert suite.documents == len(task.texts("test"))
            assert suite.bytes == sum(len(text.encode()) for text in task.texts("test"))
            assert file_digest(home / "private" / "test.jsonl") not in (root / "expert.toml").read_text()
            for figure in (suite.base, suite.expert):
                assert figure is not None
                assert figure.low <= figure.value <= figure.high

    def test_chinese_text(self, built: Any, recipe: Any) -> None:
        """Runs of 12 characters where words are not separated; the same law."""
        folder = recipe().parent / "notes"
        folder.mkdir()
        rng = random.Random(1)
        texts = ["".join(chr(rng.randrange(0x4E00, 0x9000)) for _ in range(80)) + "。" for _ in range(60)]
        for number, text in enumerate(texts):
            (folder / f"{number}.txt").write_text(text, encoding="utf-8")
        home, _ = built(source(), letters(uri="file://notes", leaves="figures"))
        assert len(read_private(home / "private").texts("test")) >= 10
        grams = {text[i : i + 12] for text in texts for i in range(len(text) - 11)}
        for file in (home / "src").rglob("*"):
            if file.is_file():
                shipped = file.read_bytes().decode(errors="ignore")
                assert not grams & {shipped[i : i + 12] for i in range(len(shipped) - 11)}, file.name

    def test_copyleft_text_stays(self, recipe: Any) -> None:
        """A license that forbids it stops samples too, and lets figures go."""
        one = letters(personal_data="none", leaves="samples", license="GPL-3.0-only")
        with pytest.raises(TrainError, match="'letters' may not be shipped as samples") as caught:
            prepared_for(recipe, one)
        assert 'leaves = "figures"' in str(caught.value.hint)
        assert prepared_for(recipe, one | {"leaves": "figures"}).corpus.private is not None


class TestCard:
    """What the data card says of a source, as far as it lets figures leave."""

    def test_of_a_source_that_lets_nothing_leave(self, built: Any) -> None:
        """Its name, its license and "unknown"; no figure of others gives its size away."""
        _, packaged = built(source(), letters(leaves="nothing"))
        public, private = packaged.expert.data.sources
        assert (private.name, private.license, private.leaves, private.heldout) == (
            "letters",
            "CC0-1.0",
            "nothing",
            False,
        )
        counts = private.documents, private.bytes, private.tokens, private.share
        assert {*counts, private.uri, private.revision, private.archive_digest} == {"unknown"}
        assert (private.personal_data, public.personal_data) == ("present", "none")
        assert public.share == "unknown"  # tokens and share of one tell the size of the other
        split = packaged.expert.data.split
        assert split.train_documents == public.documents
        assert "figures may leave" in split.by

    def test_all_sources_let_figures_leave(self, built: Any) -> None:
        """Everything is counted, also what the private suite holds."""
        home, packaged = built(source(), letters(leaves="figures"))
        public, private = packaged.expert.data.sources
        assert public.share + private.share == pytest.approx(1, abs=1e-3)
        assert private.uri == "file://letters"
        task = read_private(home / "private")
        split = packaged.expert.data.split
        assert split.test_documents == 30 + len(task.texts("test"))
        assert split.train_documents == public.documents + private.documents
        assert {measured.documents for measured in packaged.expert.data.training.measured} == {5, 30}

    def test_a_digest_of_private_text_is_not_told(self, built: Any, recipe: Any) -> None:
        """It has no salt: whoever guesses the text could test the guess."""
        folder = write_texts(recipe().parent / "letters", 60, "letter")
        digest = file_digest(folder)
        home, packaged = built(source(), letters(leaves="figures", digest=digest))
        assert packaged.expert.data.sources[1].archive_digest == "unknown"
        assert digest not in (home / "src" / "cogen_plugin_tiny" / "expert.toml").read_text()
        _, packaged = built(source(), letters(leaves="samples", digest=digest, personal_data="none"))
        assert packaged.expert.data.sources[1].archive_digest == digest

    def test_older_recipes_make_manifests_of_version_1(self, built: Any) -> None:
        """`heldout = true` alone: hosts from before can read it."""
        _, packaged = built(source())
        assert packaged.expert.schema_version == 1
        assert "leaves" not in packaged.expert.model_dump(mode="json")["data"]["sources"][0]
        _, packaged = built(letters(leaves="heldout", personal_data="none"))
        assert packaged.expert.schema_version == 2


class TestStatistics:
    """Numbers in place of text, each by its own consent."""

    def test_nothing_is_written_unasked(self, built: Any) -> None:
        """Also where the table stands and agrees to nothing."""
        home, packaged = built(letters(leaves="figures"), statistics={"floor": 3})
        assert packaged.expert.statistics is None
        assert not (home / "src" / "cogen_plugin_tiny" / "statistics").exists()

    @pytest.mark.parametrize("kind", ["token_counts", "states", "embedding"])
    def test_one_kind_is_one_file(self, built: Any, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Consent to one is none to the others."""
        monkeypatch.setattr(Embedder, "encode", lambda self, texts: torch.ones(len(texts), 4))
        home, packaged = built(letters(leaves="figures"), statistics={kind: True})
        folder = home / "src" / "cogen_plugin_tiny" / "statistics"
        assert [file.name for file in folder.iterdir()] == [f"{kind}.safetensors"]
        found = packaged.expert.statistics
        assert getattr(found, kind).digest == file_digest(folder / f"{kind}.safetensors")
        assert (found.embedder == DEFAULT) == (kind == "embedding")

    def test_token_counts(self, built: Any, recipe: Any) -> None:
        """Of all training text, without tokens of fewer than `floor` files, however often they occur in one."""
        prepared = prepared_for(recipe, letters(leaves="figures"), statistics={"token_counts": True, "floor": 25})
        home, packaged = built(letters(leaves="figures"), statistics={"token_counts": True, "floor": 25})
        tensors = load_file(home / "src" / "cogen_plugin_tiny" / "statistics" / "token_counts.safetensors")
        assert {tensor.dtype for tensor in tensors.values()} == {torch.int64}
        files: dict[int, set[str]] = {}
        totals: dict[int, int] = {}
        for document in prepared.corpus.train:
            for id in prepared.tokenizer(document.text, add_special_tokens=False)["input_ids"]:
                files.setdefault(id, set()).add(document.group)
                totals[id] = totals.get(id, 0) + 1
        kept = sorted(id for id, groups in files.items() if len(groups) >= 25)
        assert 0 < len(kept) < len(files)
        assert any(totals[id] >= 25 for id in files.keys() - set(kept)), "a token that is frequent in few files"
        assert tensors["ids"].tolist() == kept
        assert tensors["counts"].tolist() == [totals[id] for id in kept]
        assert packaged.expert.statistics.documents == len({d.group for d in prepared.corpus.train})
        assert packaged.expert.statistics.floor == 25

    def test_states_are_those_of_the_text(self, built: Any, recipe: Any) -> None:
        """The mean that a mixture computes from the same text as samples, to the bit; so its router row is the same."""
        home, _ = built(letters(leaves="figures"), statistics={"states": True})
        prepared = prepared_for(recipe, letters(leaves="figures"), statistics={"states": True})
        from cogen.forge.statistics import spread

        texts = [document.text for document in spread(prepared.corpus.train, 2000, 10)]
        anchor = Anchor(lambda: load_model(prepared.base, "float32"), prepared.tokenizer, ["test"])
        found = load_file(home / "src" / "cogen_plugin_tiny" / "statistics" / "states.safetensors")["mean"]
        assert found.shape == (2, 32)
        assert torch.equal(found, anchor.mean(texts))

    def test_the_embedding_is_the_centroid(self, built: Any, recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """As strategy route computes it of samples: the mean in float64, stored in float32."""

        def encode(_: Any, texts: list[str]) -> torch.Tensor:
            return torch.tensor([[float(len(text)), float(text.count("a")), 1.0] for text in texts])

        monkeypatch.setattr(Embedder, "encode", encode)
        wanted = {"embedding": True, "embedder": "pypi://other==1/model", "embedder_digest": "sha256:" + "1" * 64}
        home, packaged = built(letters(leaves="figures"), statistics=wanted)
        prepared = prepared_for(recipe, letters(leaves="figures"), statistics=wanted)
        from cogen.forge.statistics import spread

        texts = [document.text for document in spread(prepared.corpus.train, 2000, 10)]
        found = load_file(home / "src" / "cogen_plugin_tiny" / "statistics" / "embedding.safetensors")["mean"]
        assert found.dtype == torch.float32
        assert torch.equal(found, encode(None, texts).double().mean(0).float())
        assert packaged.expert.statistics.embedder == "pypi://other==1/model"

    def test_a_source_that_lets_nothing_leave_changes_no_figure(self, built: Any) -> None:
        """Statistics and private suite are the same bytes with it and without it."""
        write = {"token_counts": True, "states": True}
        home, without = built(letters(leaves="figures"), statistics=write)
        write_texts(home / "secret", 40, "secret")
        secret = letters(name="secret", uri="file://secret", leaves="nothing")
        with_secret = built(letters(leaves="figures"), secret, statistics=write)[1]
        assert with_secret.expert.statistics == without.expert.statistics
        (one,), (other,) = with_secret.expert.private_suites, without.expert.private_suites
        assert (one.text_digest, one.documents, one.base) == (other.text_digest, other.documents, other.base)

    @pytest.mark.parametrize(
        ("leaves", "statistics", "text", "hint"),
        [
            ("nothing", {"states": True}, "no source lets figures leave", 'leaves = "figures"'),
            ("figures", {"states": True, "floor": 500}, "fewer than its floor of 500", "add more"),
            ("figures", {"embedding": True, "embedder": "file://model"}, "on this machine alone", "pypi://"),
        ],
    )
    def test_mistakes(self, recipe: Any, leaves: str, statistics: dict[str, Any], text: str, hint: str) -> None:
        """Before anything is trained, with a hint."""
        with pytest.raises(TrainError, match=text) as caught:
            prepared_for(recipe, letters(leaves=leaves), statistics=statistics)
        assert hint in str(caught.value.hint)

    def test_no_token_is_frequent_enough(self, built: Any) -> None:
        """Said by the option that mends it."""
        from support.tiny import tokenizer

        from cogen.forge.corpus import Document
        from cogen.forge.statistics import token_counts

        with pytest.raises(TrainError, match="no token occurs in 3 different documents") as caught:
            token_counts([Document("the grid the grid", "s", "g", "MIT")], tokenizer(), 3)
        assert "floor" in str(caught.value.hint)


class TestPrivateSuite:
    """Sizes and salts."""

    @pytest.mark.parametrize(("files", "per_group", "test", "dev"), [(30, 1, 10, 2), (60, 1, 21, 3), (200, 1, 30, 5)])
    def test_as_large_as_the_text_allows(self, recipe: Any, files: int, per_group: int, test: int, dev: int) -> None:
        """At most 40 % of the files are held out; never more than a public suite would have."""
        home = recipe().parent
        write_texts(home / "few", files, "few")
        few = letters(uri="file://few", leaves="figures")
        notes = Notes()
        held = prepare(recipe(corpus={"sources": [few], "per_group": per_group}), notes).corpus.private
        assert held is not None
        assert [line for line in notes.lines if "intervals are wide" in line] == (
            [] if test == 30 else [f"private suite: {test} test documents instead of 30, so its intervals are wide"]
        )
        assert (len(held.test), len(held.dev), held.figures) == (test, dev, True)

    def test_too_small(self, recipe: Any) -> None:
        """Fewer than ten documents are an error with a hint; where nothing leaves, all of it is trained on."""
        home = recipe().parent
        write_texts(home / "few", 20, "few")
        few = letters(uri="file://few", leaves="figures")
        with pytest.raises(TrainError, match="only 7 test and 1 dev documents of letters") as caught:
            prepare(recipe(corpus={"sources": [few], "per_group": 1}))
        assert 'leaves = "nothing"' in str(caught.value.hint)
        corpus = prepare(recipe(corpus={"sources": [few | {"leaves": "nothing"}], "per_group": 1})).corpus
        assert corpus.private is None
        assert len(corpus.train) == 60

    def test_the_salt_stays(self, built: Any) -> None:
        """A second training of the same text gives the same digest; without the folder, another."""
        home, first = built(letters(leaves="figures"))
        _, second = built(letters(leaves="figures"))
        digests = [one.expert.private_suites[0].text_digest for one in (first, second)]
        assert digests[0] == digests[1]
        shutil.rmtree(home / "private")
        _, third = built(letters(leaves="figures"))
        assert third.expert.private_suites[0].text_digest != digests[0]

    def test_nothing_of_it_stays_in_the_cache(self, built: Any) -> None:
        """No figure of a document, no text."""
        home, _ = built(letters(leaves="figures"), statistics={"states": True})
        assert leaked(cache_dir(), private_runs(home / "letters")) == set()
        assert not (cache_dir() / "results").exists()
        assert not (cache_dir() / "states").exists()

    def test_the_command_shows_it(self, recipe: Any, capsys: pytest.CaptureFixture[str]) -> None:
        """`cogen train --json`: private suites, or figures for the publisher alone."""
        prepared_for(recipe, letters(leaves="figures"))
        path = recipe(corpus={"sources": [letters(leaves="figures")]})
        assert main(["train", str(path), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["measured"], found["at_home"]) == ([], None)
        assert found["private_suites"][0]["measured_at"] == "publisher"
        path = recipe(corpus={"sources": [letters(leaves="nothing")]})
        assert main(["train", str(path)]) == 0
        assert "for you alone" in capsys.readouterr().out


class TestUnfinished:
    """TODO stops training."""

    def test_all_fields_at_once(self, recipe: Any) -> None:
        """Before base and texts are fetched."""
        card = tomllib.loads(recipe().read_text())["card"] | {"license": "TODO", "summary": "TODO: one line"}
        elsewhere = source(uri="wheel://nowhere==1", digest="sha256:" + "0" * 64, license="TODO", heldout=False)
        with pytest.raises(TrainError) as caught:
            prepare(recipe(card=card, corpus={"sources": [elsewhere]}))
        assert caught.value.message == (
            "recipe.toml is not finished: license of source 'invented', card.summary, card.license are TODO"
        )
        assert "unknown" in str(caught.value.hint)

    def test_a_new_plugin(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """`cogen new` and `cogen train` at once: what is missing, by name."""
        folder = tmp_path / "law"
        assert main(["new", "law", "-o", str(folder), "--license", "MIT"]) == 0
        capsys.readouterr()
        assert main(["train", str(folder / "recipe.toml"), "--json"]) == 1
        error = json.loads(capsys.readouterr().out)["error"]
        assert "license of source 'law-texts'" in error
        assert "card.publisher" in error
        assert "card.license" not in error


class TestPlaces:
    """Everything inside the package is published."""

    def test_texts_inside_the_package(self, recipe: Any) -> None:
        """Refused by name."""
        write_texts(recipe().parent / "src" / "cogen_plugin_tiny" / "letters", 40)
        inside = letters(uri="file://src/cogen_plugin_tiny/letters", leaves="figures")
        with pytest.raises(TrainError, match="'letters' lies inside the package") as caught:
            prepare(recipe(corpus={"sources": [inside]}))
        assert "beside the recipe" in str(caught.value.hint)

    @pytest.mark.parametrize("plugin", ["private", "src/cogen_plugin_tiny"])
    def test_a_private_folder_inside_the_package(self, recipe: Any, plugin: str) -> None:
        """By its name, or by a link."""
        home = recipe().parent
        if plugin != "private":
            (home / plugin).mkdir(parents=True)
            (home / "private").symlink_to(home / plugin, target_is_directory=True)
        with pytest.raises(TrainError, match="private/ beside the recipe lies inside the package") as caught:
            prepare(recipe(plugin=plugin))
        assert "another folder" in str(caught.value.hint)

    def test_paths_of_the_machine_stay(self, built: Any, tmp_path: Path) -> None:
        """A folder elsewhere is called by the source's name in the card."""
        write_texts(tmp_path / "oncology" / "letters", 60, "letter")
        for uri in (f"file://{tmp_path}/oncology/letters", "file://../oncology/letters"):
            home, packaged = built(letters(leaves="figures", uri=uri))
            assert packaged.expert.data.sources[0].uri == "file://letters"
            assert "oncology" not in (home / "src" / "cogen_plugin_tiny" / "expert.toml").read_text()

    def test_a_package_around_the_recipe(self, recipe: Any) -> None:
        """Its private folder would be published."""
        with pytest.raises(TrainError, match="contains the recipe"):
            prepare(recipe(plugin="."))


class TestKilled:
    """Never new weights under an old manifest."""

    @pytest.mark.parametrize("at", ["write_statistics", "_measure", "keep_private", "copytree", "atomic_write"])
    def test_the_package_is_the_old_or_the_new_one(self, recipe: Any, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Wherever a run is killed; what the publisher added to the package stays, and nothing else is left."""
        first = prepared_for(recipe, letters(leaves="figures"))
        package(first, run_training(first, lambda _: None))
        root = first.home / first.recipe.plugin
        (root / "hooks.py").write_text("# the publisher's own\n")
        before = file_digest(root)
        second = prepared_for(recipe, letters(leaves="figures"), training={"learning_rate": 0.02})
        result = run_training(second, lambda _: None)
        owner = packaging.shutil if at == "copytree" else packaging
        real, calls = getattr(owner, at), []

        def kill(*arguments: Any, **options: Any) -> Any:
            calls.append(arguments)
            if len(calls) == (3 if at == "copytree" else 1):  # the third copies the new outputs over the old ones
                raise KeyboardInterrupt
            return real(*arguments, **options)

        monkeypatch.setattr(owner, at, kill)
        with pytest.raises(KeyboardInterrupt):
            package(second, result)
        assert file_digest(root) == before
        assert sorted(path.name for path in root.parent.iterdir()) == [root.name]
        monkeypatch.setattr(owner, at, real)
        spec = package(second, result).expert
        assert spec.model.file_digest == file_digest(root / "weights")
        assert (root / "hooks.py").is_file()

    def test_outputs_of_before_go(self, built: Any) -> None:
        """Samples and suites of an earlier recipe do not stay in the package."""
        home, _ = built(source(), statistics={"token_counts": True})
        root = home / "src" / "cogen_plugin_tiny"
        assert (root / "samples.jsonl").is_file()
        built(letters(leaves="figures"))
        assert sorted(path.name for path in root.iterdir()) == ["__init__.py", "expert.toml", "weights"]
