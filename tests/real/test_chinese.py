"""The Chinese example on its real base: texts, split, a few steps of training, figures; and a Chinese route."""

from __future__ import annotations

import importlib.util
import json
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import tomlkit
from support.manifests import digest, make_expert

from cogen.checkpoints.bases import BASES
from cogen.checkpoints.digests import tokenizer_digest
from cogen.checkpoints.load import load_tokenizer
from cogen.checkpoints.model import open_weights
from cogen.fusion.embedders import choose_embedder
from cogen.fusion.recipe import FuseRecipe
from cogen.fusion.route import Router
from cogen.fusion.route.centroids import make_centroids
from cogen.routing.embedder import MULTILINGUAL, Embedder

pytestmark = [pytest.mark.slow, pytest.mark.network]

EXAMPLE = Path(__file__).parents[2] / "examples" / "chinese"
BASE = "qwen2.5-coder-0.5b-instruct"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    """``prepare.py``."""
    spec = importlib.util.spec_from_file_location("prepare_chinese", EXAMPLE / "prepare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_article_is_cut_between_sentences_and_stays_whole(example: ModuleType) -> None:
    """No character is lost but the line breaks at cuts; a short article is one paragraph."""
    sentence = "国家对传染病防治实行预防为主的方针，防治结合、分类管理、依靠科学、依靠群众。"
    article = "第二条 " + sentence * 12
    parts = example.paragraphs(article)
    assert "".join(parts) == article
    assert all(len(part) <= example.LONGEST for part in parts)
    assert all(part.endswith("。") for part in parts)
    assert example.paragraphs("第一条 短。") == ["第一条 短。"]


def test_statutes_are_free_by_their_own_words(real_cache: Path, example: ModuleType) -> None:
    """The card's evidence stands in the database itself; all laws are there."""
    path = example.database()
    (fifth,) = [text for text in example.articles(path, "著作权法") if text.startswith("第五条 ")]
    assert "本法不适用于" in fifth
    assert "法律、法规，国家机关的决议、决定、命令" in fifth
    counts = {law: len(example.articles(path, law)) for law in example.LAWS}
    assert min(counts.values()) >= 20
    assert counts["传染病防治法"] == 115


def test_the_base_reads_chinese(real_cache: Path) -> None:
    """Its digests are those that it is registered with; two characters a token, and none unknown."""
    ref, tokenizer_spec = BASES[BASE]
    base = open_weights(ref)
    tokenizer = load_tokenizer(base.folder)
    assert tokenizer_digest(tokenizer) == tokenizer_spec.digest
    assert len(tokenizer) == tokenizer_spec.vocab_size
    text = "国家对食品生产经营实行许可制度。从事食品生产、食品销售、餐饮服务，应当依法取得许可。"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert len(ids) <= 0.7 * len(text)


def test_it_trains(real_cache: Path, tmp_path: Path, example: ModuleType) -> None:
    """Two short steps of the recipe, measured on fewer documents: a whole plugin whose card is complete."""
    from cogen.api.training import train

    laws = ("医师法", "药品管理法", "献血法", "母婴保健法", "红十字会法", "人口与计划生育法", "中医药法")
    assert example.write(tmp_path / "texts", laws) > 40_000
    recipe = tomllib.loads((EXAMPLE / "recipe.toml").read_text(encoding="utf-8"))
    recipe["training"] |= {"tokens": 256, "sequence_length": 64, "batch_size": 2}
    recipe["corpus"] |= {"dev_documents": 2, "test_documents": 30, "per_group": 30, "max_characters": 130}
    (tmp_path / "recipe.toml").write_text(tomlkit.dumps(recipe), encoding="utf-8")
    trained = train(tmp_path / "recipe.toml")
    spec = trained.expert
    assert (spec.id, spec.languages, spec.license) == ("health-law-zh", ("zh",), "Apache-2.0")
    assert spec.model.base is not None
    assert spec.model.base.weights_digest == BASES[BASE][0].weights_digest
    assert spec.data.personal_data == "none"
    measured = {one.part: one for one in spec.data.training.measured}
    assert measured["test"].documents == 30
    # Chinese is about three bytes a character: a base that reads it needs far less than eight bits for each byte.
    assert 0.3 < measured["test"].before < 2.5
    assert measured["test"].after < measured["test"].before + 0.05
    package = tmp_path / recipe["plugin"]
    held = [json.loads(line)["text"] for line in (package / "suites" / "test.jsonl").read_text().splitlines()]
    samples = [json.loads(line)["text"] for line in (package / "samples.jsonl").read_text().splitlines()]
    assert not {*held} & {*samples}


def _expert(folder: Path, id: str, texts: list[str]) -> Any:
    content = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts).encode()
    samples = {"path": "samples.jsonl", "digest": digest(content), "license": "CC0-1.0"}
    made = make_expert(folder, id, samples=samples, languages=["zh"])
    (made.root / "samples.jsonl").write_bytes(content)
    return made


@pytest.fixture(scope="module")
def laws(real_cache: Path, tmp_path_factory: pytest.TempPathFactory, example: ModuleType) -> list[Any]:
    """Two experts of 40 articles each."""
    folder, path = tmp_path_factory.mktemp("laws"), example.database()
    return [
        _expert(folder, "health", example.articles(path, "药品管理法")[:40]),
        _expert(folder, "energy", example.articles(path, "电力法")[:40]),
    ]


def test_chinese_experts_get_an_embedder_that_reads_them(laws: list[Any]) -> None:
    """MiniLM leaves most of their letters unread, the multilingual model none."""
    found = choose_embedder(FuseRecipe(experts={}, strategy="route"), laws)
    assert found.source == MULTILINGUAL
    texts = ["国家对传染病防治实行预防为主的方针。"]
    assert Embedder("minilm").reading(texts).unread_share > 0.5
    assert found.reading(texts).unread_share == 0


@pytest.mark.parametrize(("embedder", "least"), [("multilingual", 36), ("counts", 32)])
def test_chinese_texts_find_their_expert(laws: list[Any], embedder: str, least: int, example: ModuleType) -> None:
    """Forty articles each of two laws that neither expert has."""
    model = Embedder(embedder)
    router = Router(model, make_centroids(laws, model, {}), fallback=False)
    path = example.database()
    for law, owner in (("疫苗管理法", "health"), ("能源法", "energy")):
        found = [choice.expert for choice in router.choose(example.articles(path, law)[5:45])]
        assert found.count(owner) >= least


def test_a_question_in_another_language_finds_the_chinese_expert(laws: list[Any]) -> None:
    model = Embedder("multilingual")
    router = Router(model, make_centroids(laws, model, {}), fallback=False)
    questions = ["Who may sell prescription medicines?", "Who is responsible for the power grid?"]
    assert [choice.expert for choice in router.choose(questions)] == ["health", "energy"]
