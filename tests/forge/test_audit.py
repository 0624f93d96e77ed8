"""Canaries in a training, the audit at its end, `cogen audit`, and the search for personal data before it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.training import paragraph, source

import cogen
from cogen.cli.main import main
from cogen.conformance.private_text import check_declared
from cogen.errors import TrainError, UsageError
from cogen.forge.audit import audit_expert
from cogen.forge.blocks import encode, pack
from cogen.forge.build import prepare
from cogen.forge.canaries import NO_CANARIES
from cogen.forge.recipe import AuditRecipe, TrainRecipe, read_recipe
from cogen.spec.data import DifferentialPrivacy
from cogen.spec.expert import ExpertSpec

Make = Callable[..., Path]


@pytest.fixture(autouse=True)
def _threads() -> Any:
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)


def card(recipe: Path) -> ExpertSpec:
    manifest = recipe.parent / "src" / "cogen_plugin_tiny" / "expert.toml"
    return ExpertSpec.model_validate(tomllib.loads(manifest.read_text(encoding="utf-8")))


def chat_recipe(recipe: Make, tmp_path: Path, steps: int = 6, leaves: str = "heldout", **changes: Any) -> Path:
    """A recipe over 120 conversations."""
    lines = [json.dumps({"prompt": paragraph(f"q{i}", 4), "response": paragraph(f"a{i}", 10)}) for i in range(120)]
    (tmp_path / "chats.jsonl").write_text("\n".join(lines))
    own = {"uri": f"file://{tmp_path}", "members": ["chats.jsonl"], "extract": "chat"}
    sources = [source(**own) if leaves == "heldout" else source(**own, heldout=False, leaves=leaves)]
    training = {"data": "chat", "sequence_length": 160, "tokens": 160 * 2 * steps, "batch_size": 2, "threads": 1}
    return recipe(chat=True, training=training, corpus={"sources": sources}, **changes)


class TestCanaries:
    """What training reads beside the corpus, and where it stands."""

    def test_old_recipes_read_what_they_read(self, recipe: Make) -> None:
        """No table [audit]: the same digest, the same blocks, no salt."""
        path = recipe()
        prepared = prepare(path)
        training = prepared.recipe.training
        assert "audit" not in prepared.recipe.model_dump()
        assert prepared.canaries == NO_CANARIES
        count = training.steps * training.batch_size
        plain = pack(encode(prepared.corpus.train, prepared.tokenizer), training.sequence_length, count, training.seed)
        assert torch.equal(prepared.blocks().ids, plain)
        assert not (path.parent / "private" / "canary-salt").exists()

    def test_in_the_blocks_and_nowhere_else(self, recipe: Make) -> None:
        """Each stands there as often as asked, in the part that is read; corpus, samples and counts have none."""
        prepared = prepare(recipe(audit={"canaries": 3, "repeats": 2}))
        length = sum(map(len, prepared.encoded)) // 4
        read = [token for ids in prepared.read_documents(length) for token in ids][:length]
        text = prepared.tokenizer.decode(read)
        assert [text.count(secret) for secret in prepared.canaries.secrets] == [2, 2, 2]
        corpus = prepared.corpus
        kept = " ".join(d.text for d in [*corpus.train, *corpus.held, *corpus.samples])
        assert not any(secret in kept for secret in prepared.canaries.secrets)
        assert [ids for ids in prepared.read_documents(length) if ids not in prepared.canaries.encoded] == (
            prepared.encoded
        )

    def test_beside_conversations(self, recipe: Make, tmp_path: Path) -> None:
        """Whole in the blocks of data = "chat", learned but for the separator."""
        prepared = prepare(chat_recipe(recipe, tmp_path, audit={"canaries": 3, "repeats": 2}))
        blocks = prepared.blocks()
        text = prepared.tokenizer.decode(blocks.ids.flatten())
        assert [text.count(secret) for secret in prepared.canaries.secrets] == [2, 2, 2]
        assert blocks.labels is not None
        learned = prepared.tokenizer.decode(blocks.labels[blocks.labels != -100])
        assert [learned.count(secret) for secret in prepared.canaries.secrets] == [2, 2, 2]

    def test_an_audit_of_conversations(self, recipe: Make, tmp_path: Path) -> None:
        """Held-out ones are rendered as those that were read: the base itself is no different from the base."""
        prepared = prepare(chat_recipe(recipe, tmp_path, 80, audit={"canaries": 3}))
        assert prepared.encode(prepared.corpus.train) == prepared.encoded
        audit = audit_expert(prepared, prepared.base)
        assert audit.canaries == 3
        assert audit.membership_documents != 0
        assert audit.membership_auc == 0.5

    def test_private_conversations(self, recipe: Make, tmp_path: Path) -> None:
        """Only figures leave: a private suite, an account and an audit; no turn and no canary in any file."""
        path = chat_recipe(recipe, tmp_path, leaves="figures", audit={"canaries": 3})
        trained = cogen.train(path)
        spec = trained.expert
        (suite,) = spec.private_suites
        assert suite.documents >= 10
        (account,) = trained.accounts
        assert (account.files, account.kept_documents) == (1, 120)
        assert trained.chat is not None
        assert spec.data.audit is not None
        assert spec.data.audit.canaries == 3
        assert spec.data.split != "unknown"
        assert spec.data.split.by.startswith("conversation: ")
        shipped = b"".join(file.read_bytes() for file in trained.folder.rglob("*") if file.is_file())
        prepared = prepare(path)
        turns = [turn.content for document in prepared.corpus.train + prepared.corpus.held for turn in document.chat]
        assert len(turns) >= 200
        assert not any(text.encode() in shipped for text in (*turns, *prepared.canaries.secrets))

    def test_longer_than_a_block_of_conversations(self, recipe: Make, tmp_path: Path) -> None:
        """Refused by name, not left out."""
        prepared = prepare(chat_recipe(recipe, tmp_path, audit={"canaries": 3}))
        with pytest.raises(TrainError, match=r"canaries have up to \d+ tokens, and sequence_length is 8") as caught:
            prepared.canaries.among_chats(prepared.chats, 8, 4)
        assert "canaries = 0" in str(caught.value.hint)

    def test_documents_that_end(self, recipe: Make) -> None:
        """With document_ends, too: each canary as often as asked."""
        training = {"document_ends": True, "sequence_length": 64, "tokens": 64 * 2 * 40}
        prepared = prepare(recipe(audit={"canaries": 3, "repeats": 2}, training=training))
        text = prepared.tokenizer.decode(prepared.blocks().ids.flatten())
        assert all(text.count(secret) >= 2 for secret in prepared.canaries.secrets)
        plain = prepare(recipe(training=training))
        assert not any(s in plain.tokenizer.decode(plain.blocks().ids.flatten()) for s in prepared.canaries.secrets)

    def test_another_salt_gives_others(self, recipe: Make) -> None:
        path = recipe(audit={"canaries": 3})
        one = prepare(path).canaries
        assert prepare(path).canaries == one
        (path.parent / "private" / "canary-salt").unlink()
        assert prepare(path, new_canaries=False).canaries == NO_CANARIES
        assert not set(prepare(path).canaries.secrets) & set(one.secrets)


class TestTrain:
    """The audit that ends a training."""

    def test_in_the_card(self, recipe: Make, capsys: pytest.CaptureFixture[str]) -> None:
        """Verdict and figures are in the manifest; no secret is in it, nor in what was printed."""
        path = recipe(audit={"canaries": 6}, training={"sequence_length": 128})
        assert main(["train", str(path), "--json"]) == 0
        printed = capsys.readouterr()
        spec = card(path)
        audit = spec.data.audit
        assert audit is not None
        assert json.loads(printed.out)["audit"] == audit.model_dump(mode="json")
        assert spec.schema_version == 2
        assert audit.canaries == 6
        assert audit.canary_exposure_most == 10.0
        secrets = prepare(path).canaries.secrets
        package = path.parent / "src"
        shipped = b"".join(file.read_bytes() for file in package.rglob("*") if file.is_file())
        assert not any(s.encode() in shipped or s in printed.out + printed.err for s in secrets)
        assert spec.data.training.hyperparameters["canaries"].startswith("6 random secrets, 1 times each, sha256:")

    @pytest.mark.parametrize(
        ("changes", "audited"),
        [({}, False), ({"audit": {"enabled": False, "canaries": 4}}, False), ({"audit": {"canaries": 0}}, True)],
    )
    def test_who_is_audited(self, recipe: Make, changes: dict[str, Any], audited: bool) -> None:
        path = recipe(**changes)
        cogen.train(path)
        assert (card(path).data.audit is not None) is audited

    def test_private_text_is(self, recipe: Make) -> None:
        """Personal data, or a source of which not all may leave; an older heldout = false says nothing of it."""

        def wanted(**changes: Any) -> bool:
            document = tomllib.loads(recipe().read_text())
            document["card"]["personal_data"] = changes.pop("card", "none")
            source = document["corpus"]["sources"][0]
            del source["heldout"]
            source |= changes
            return TrainRecipe.model_validate(document).private

        assert [wanted(leaves="heldout"), wanted(heldout=False), wanted(heldout=True)] == [False, False, False]
        assert [wanted(leaves=level) for level in ("nothing", "figures", "samples")] == [True, True, True]
        assert wanted(leaves="nothing", personal_data="present")
        assert wanted(card="unknown", leaves="heldout")


class TestCommand:
    """`cogen audit` of an expert that was trained before."""

    def test_the_same_figures_again(self, recipe: Make, capsys: pytest.CaptureFixture[str]) -> None:
        """As in training; `--save` writes them, and only then."""
        path = recipe(audit={"canaries": 6})
        trained = cogen.train(path).expert.data.audit
        before = card(path)
        again = cogen.audit(path)
        assert again.audit == trained
        assert (again.expert, again.saved) == ("tiny", False)
        capsys.readouterr()
        assert main(["audit", str(path.parent), "--prefixes", "0", "--documents", "5", "--save", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["saved"] is True
        assert found["audit"]["membership_auc"] == "unknown"
        after = card(path)
        assert after.data.audit is not None
        assert after.data.audit.model_dump(mode="json") == found["audit"]
        assert after.model == before.model

    def test_a_lost_salt_is_no_clean_bill(self, recipe: Make) -> None:
        """Canaries that are not known any more are not checked; new ones would look unread."""
        path = recipe(audit={"canaries": 6})
        cogen.train(path)
        (path.parent / "private" / "canary-salt").unlink()
        found = cogen.audit(path).audit
        assert (found.canaries, found.canary_exposure) == (0, "unknown")
        assert any(note.startswith("canaries: not checked") for note in found.notes)
        assert not (path.parent / "private" / "canary-salt").exists()

    def test_mistakes(self, recipe: Make, tmp_path: Path) -> None:
        path = recipe()
        with pytest.raises(TrainError, match="has not been trained yet"):
            cogen.audit(path)
        with pytest.raises(UsageError, match="neither a recipe nor an installed expert"):
            cogen.audit("nobody")
        with pytest.raises(UsageError, match="prefixes must be a whole number"):
            cogen.audit(path, prefixes=-1)
        cogen.train(path)
        path = recipe(training={"learning_rate": 0.02})
        with pytest.raises(TrainError, match="trained by another recipe"):
            cogen.audit(path, save=True)
        notes: list[str] = []

        class Notes:
            def describe(self, label: str) -> None: ...

            def advance(self, n: float = 1) -> None: ...

            def note(self, text: str) -> None:
                notes.append(text)

        cogen.audit(path, reporter=Notes())
        assert any("trained by another recipe" in note for note in notes)
        (path.parent / "texts" / "t000.txt").write_text("Nothing of it is left.")
        for file in sorted((path.parent / "texts").glob("t*.txt"))[40:]:
            file.unlink()
        with pytest.raises(TrainError):
            cogen.audit(path)

    def test_private_training_in_the_card(self, recipe: Make) -> None:
        """ε, δ and noise; the tokens are those of Poisson samples; the base's other figures are as they were."""
        path = recipe(training={"privacy": {"epsilon": 8.0, "delta": 1e-3}, "batch_size": 8, "tokens": 16 * 8 * 3})
        cogen.train(path)
        training = card(path).data.training
        assert training.privacy.epsilon <= 8.0
        assert training.privacy.noise_multiplier > 0
        assert "privacy" not in training.hyperparameters
        assert training.order.startswith("each step takes every document with the same probability")

    @pytest.mark.parametrize("leaves", ["nothing", "figures"])
    def test_the_size_of_text_that_lets_nothing_leave(self, recipe: Make, leaves: str) -> None:
        """Beside another source or alone: neither ε, noise, probability nor audit tell it; its publisher has them.

        With the noise and Opacus' accountant, or with all digits of ε, anybody could compute the number of documents.
        """
        (recipe().parent / "others").mkdir()
        for number in range(90):
            text = "\n\n".join(paragraph(f"other {number} {part}") for part in range(3))
            (recipe().parent / "others" / f"o{number}.txt").write_text(text)
        first = source(heldout=False, leaves="nothing", personal_data="present")
        second = source(name="others", uri="file://others", heldout=False, leaves=leaves, personal_data="present")
        path = recipe(
            corpus={"sources": [first, second]},
            training={"privacy": {"epsilon": 7.5, "delta": 1e-3}, "batch_size": 8, "tokens": 16 * 8 * 3},
        )
        prepared = prepare(path)
        cogen.train(path)
        spec = card(path)
        check_declared(spec)
        data = spec.data
        assert data.training.privacy == DifferentialPrivacy(
            epsilon=7.5,
            delta=1e-3,
            noise_multiplier="unknown",
            max_grad_norm=1.0,
            accountant=data.training.privacy.accountant,
        )
        assert data.training.tokens == prepared.recipe.training.seen_tokens
        documents = len(prepared.corpus.train)
        assert f"/{documents}" not in (path.parent / "src" / "cogen_plugin_tiny" / "expert.toml").read_text()
        kept = path.parent / "private" / "privacy.json"
        exact = DifferentialPrivacy.model_validate_json(kept.read_text())
        assert kept.stat().st_mode & 0o777 == 0o600
        assert f"with probability 8/{documents}, 3 steps" in exact.accountant
        assert exact.noise_multiplier > 0.3
        assert exact.epsilon <= 7.5
        assert data.audit.passes == "unknown"
        assert data.audit.extraction_prefixes in (0, 1, 2, 3, 5, 10, 20, 30, 50, 100)
        assert not any("times" in note for note in data.audit.notes)
        assert (data.split == "unknown") == (leaves == "nothing")
        cogen.audit(path, save=True)  # the same card again, although `split` counts one source alone
        check_declared(card(path))


class TestScan:
    """Personal data, before training and by itself."""

    def test_a_source_that_says_none(self, recipe: Make, capsys: pytest.CaptureFixture[str]) -> None:
        """Is contradicted by name; the hits are masked, and on stderr."""
        path = recipe()
        for number, file in enumerate(sorted((path.parent / "texts").glob("*.txt"))[:4]):
            file.write_text(f"{paragraph(f'resident {number}', 10)} 11010519491231002X {paragraph(f'b {number}', 3)}")
        assert main(["scan", str(path), "--json"]) == 0
        found = capsys.readouterr()
        result = json.loads(found.out)
        line = "source 'invented' says personal_data = \"none\", and it holds {} × Chinese resident ID"
        (hits,) = (hits["hits"] for hits in result["found"])
        assert 1 <= hits <= 4  # documents beside a held-out one are dropped
        assert result["contradictions"] == [line.format(hits)]
        assert "11010519491231002X" not in found.out + found.err
        assert main(["train", str(path)]) == 0
        printed = capsys.readouterr()
        assert "11•••••••••••••••X" in printed.err
        assert "warning: source 'invented' says" in printed.err
        assert "names, addresses in words" in printed.err

    def test_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "letters").mkdir()
        (tmp_path / "letters" / "a.txt").write_text("手机13812345678")
        found = cogen.scan(tmp_path / "letters", languages=["zh"])
        assert [(hits.kind, hits.hits) for hits in found.found] == [("telephone number", 1)]
        with pytest.raises(UsageError, match="is not there"):
            cogen.scan(tmp_path / "nothing")


def test_settings_of_the_recipe(recipe: Make) -> None:
    """The table is read as it stands, and part of the digest."""
    path = recipe(audit={"canaries": 7, "repeats": 3})
    read = read_recipe(path)
    assert read.audit == AuditRecipe(canaries=7, repeats=3)
    assert read.digest != read.model_copy(update={"audit": None}).digest
