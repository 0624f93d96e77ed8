"""A suite is data. Each test is one way to make it more than that."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cogen.errors import EvalError, UnsafeError
from cogen.evals import BoundSuite, check_suite, count_tokens
from cogen.evals.templates import render
from cogen.spec.suite import DataFile, Suite

Bind = Callable[..., BoundSuite]

HEAD = "output_type: loglikelihood_rolling\ndoc_to_target: text\n"
#: Vectors by name; MARKER becomes the path of a file that must not appear.
CODE_FILES = {
    "function tag": HEAD + "process_docs: !function evil.boom\n",
    "function tag on an allowed key": "output_type: loglikelihood_rolling\ndoc_to_target: !function evil.boom\n",
    "python tag": HEAD + "metadata: !!python/object/apply:os.system ['touch MARKER']\n",
    "python name": HEAD + "metadata: !!python/name:os.system\n",
    "include": HEAD + "include: evil.yaml\n",
    "class": HEAD + "class: evil.Task\n",
    "custom data set": HEAD + "custom_dataset: evil.boom\n",
    "process_results": HEAD + "process_results: evil.boom\n",
    "unsafe_code": HEAD + "unsafe_code: true\n",
    "use_prompt": HEAD + "use_prompt: promptsource:evil\n",
    "fewshot_config": HEAD + "fewshot_config: {sampler: evil}\n",
    "group": HEAD + "group: evil\n",
    "task list": HEAD + "task: [../../elsewhere.yaml]\n",
    "remote data set": HEAD + "dataset_path: evil/corpus\n",
    "data set script": HEAD + "dataset_path: ./evil.py\n",
    "remote data file": HEAD + "dataset_path: json\ndataset_kwargs: {data_files: https://evil.example/x.jsonl}\n",
    "other data file": HEAD + "dataset_path: json\ndataset_kwargs: {data_files: {test: /etc/passwd}}\n",
    "remote code wish": HEAD + "dataset_path: json\ndataset_kwargs: {trust_remote_code: true}\n",
    "metric from the hub": HEAD + "metric_list: [{metric: evil/metric, hf_evaluate: true}]\n",
    "option of a metric": HEAD + "metric_list: [{metric: bits_per_byte, hf_evaluate: true}]\n",
    "alias bomb": "a: &a [x, x]\nb: &b [*a, *a]\n" + HEAD,
    "large file": HEAD + "description: '" + "x" * 70000 + "'\n",
}
TEMPLATES = {
    "class walk": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "class walk by item": "{{ ''['__class__'] }}",
    "class walk by filter": "{{ text | attr('__class__') }}",
    "class walk by attribute of a filter": "{{ [text] | sort(attribute='__class__') }}",
    "globals": "{{ cycler.__init__.__globals__.os.system('touch MARKER') }}",
    "format": "{{ '{0.__class__}'.format(text) }}",
    "format map": "{{ '{a.__class__}'.format_map({'a': text}) }}",
    "joined attributes": "{{ [text] | join(', ', '__class__') }}",
    "self": "{{ self._TemplateReference__context }}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import 'os' as os %}",
    "macro": "{% macro a() %}{{ caller }}{% endmacro %}{{ a.__globals__ }}",
    "multiplied text": "{{ 'x' * 10000000000 }}",
    "power": "{{ 9 ** 9999999 }}",
    "formatted width": "{{ '%9999999999d' % 1 }}",
    "range": "{% for i in range(99999) %}x{% endfor %}",
    "nested loops": "{% for a in text %}{% for b in text %}{{ text }}{% endfor %}{% endfor %}",
    "doubling": "{% set a = text ~ text %}{% set a = a ~ a %}{{ a }}",
    "centre": "{{ text | center(9999999999) }}",
    "a chain of replacements": "{{ text" + f".replace('a', '{'a' * 400}')" * 5 + " }}",
    "replacements by a filter": "{{ text" + f" | replace('', '{'a' * 400}')" * 5 + " }}",
    "joined": f"{{{{ '{'b' * 3000}'.join(text.replace('a', '{'a' * 3000}') | list) }}}}",
    "long template": "{{ text }}" * 2000,
}


def refused(bound: BoundSuite) -> UnsafeError:
    with pytest.raises(UnsafeError) as caught:
        check_suite(bound)
    error = caught.value
    assert error.hint
    assert "\n" not in error.message
    return error


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module ``evil`` that anything that imports or calls would leave a trace of, here and on ``sys.path``."""
    marker = tmp_path / "marker"
    code = f"import pathlib\npathlib.Path({str(marker)!r}).touch()\ndef boom(*a, **k):\n    return a\nTask = boom\n"
    for folder in (tmp_path / "power" / "heldout", tmp_path / "path"):
        folder.mkdir(parents=True)
        (folder / "evil.py").write_text(code)
        (folder / "evil.yaml").write_text("doc_to_target: !function evil.boom\n")
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    monkeypatch.chdir(tmp_path / "power" / "heldout")
    return marker


@pytest.mark.parametrize("name", CODE_FILES)
def test_a_task_file_never_brings_code_or_other_data(name: str, bind: Bind, trap: Path) -> None:
    """Tags, includes, classes, functions, and data or metrics from elsewhere are UnsafeErrors; nothing has run."""
    document = {"text": "x"}
    bound = bind(CODE_FILES[name].replace("MARKER", str(trap)), "bits_per_byte", [document], [document])
    refused(bound)
    assert not trap.exists()


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_reaches_nothing_but_its_document(name: str, bind: Bind, trap: Path) -> None:
    """Templates are checked against a list, then rendered in a sandbox: what is off the list is an UnsafeError."""
    template = TEMPLATES[name].replace("MARKER", str(trap))
    task = f"output_type: loglikelihood_rolling\ndoc_to_target: |-\n  {template}\n"
    document = {"text": "ab"}
    error = refused(bind(task, "bits_per_byte", [document], [document]))
    assert "cogen_eval_suites" in (error.hint or "")
    assert not trap.exists()


def test_a_document_is_never_rendered_itself(run: Any, bind: Bind, tokenizer: Any) -> None:
    """Template syntax inside a document is text: it reaches the model as it stands."""
    text = "{{ ''.__class__ }} {% raise %} ['a']"
    task = "output_type: loglikelihood_rolling\ndoc_to_target: '{{text}}'\n"
    (result,) = run([bind(task, "bits_per_byte", [{"text": "x"}], [{"text": text}, {"text": "17"}])])
    assert [bottom for _, bottom in result.per_document] == [len(text), 2]


def test_the_hint_names_the_hook(bind: Bind, trap: Path) -> None:
    """Who needs code learns where it belongs."""
    bound = bind(CODE_FILES["function tag"], "bits_per_byte", [{"text": "x"}], [{"text": "y"}])
    error = refused(bound)
    assert "!function" in error.message
    assert "cogen_eval_suites" in str(error.hint)


def test_a_link_out_of_the_plugin_is_refused(bind: Bind, tmp_path: Path) -> None:
    """Paths stay inside the package, links too."""
    bound = bind(HEAD, "bits_per_byte", [{"text": "x"}], [{"text": "y"}])
    outside = tmp_path / "outside.yaml"
    outside.write_text(HEAD)
    (bound.root / "task.yaml").unlink()
    (bound.root / "task.yaml").symlink_to(outside)
    assert "leads out" in refused(bound).message


def test_large_data_are_refused(tmp_path: Path) -> None:
    """At most 8 MiB a split, whatever the manifest promises."""
    data = b'{"text": "' + b"x" * (8 << 20) + b'"}\n'
    (tmp_path / "big.jsonl").write_bytes(data)
    (tmp_path / "task.yaml").write_text(HEAD)
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    file = DataFile(path="big.jsonl", digest=digest, documents=1, license="CC0-1.0")
    suite = Suite(id="big", title="Big", task="task.yaml", metric="bits_per_byte", dev=file, test=file)
    assert "8 MiB" in refused(BoundSuite("power", suite, tmp_path)).message


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("", "not a mapping"),
        ("[" * 5000, "not valid YAML"),
        ("a: b: c", "not valid YAML"),
        ("\x00", "not valid YAML"),
        (HEAD + "doc_to_txt: text", "unknown key `doc_to_txt`"),
        (HEAD + "doc_to_target: text", "same key twice"),
        ("output_type: multiple_choice\ndoc_to_target: text", "needs loglikelihood_rolling"),
        ("output_type: loglikelihood_rolling", "no `doc_to_target`"),
        ("output_type: loglikelihood_rolling\ndoc_to_target: 'x {{ title }}'", "'title' is undefined"),
        ("output_type: loglikelihood_rolling\ndoc_to_target: '{{ text '", "does not parse"),
        (HEAD + "metric_list: [{metric: acc}]", "does not measure bits_per_byte"),
        (HEAD + "num_fewshot: 99", "not a number from 0 to 8"),
        (HEAD + "generation_kwargs: {do_sample: true}", "asks for sampling"),
        (HEAD + "repeats: 3", "`repeats` must be 1"),
    ],
)
def test_a_mistaken_task_file_is_explained(task: str, message: str, bind: Bind) -> None:
    """What is wrong but harmless is an EvalError of one line with a hint."""
    with pytest.raises(EvalError, match=message) as caught:
        check_suite(bind(task, "bits_per_byte", [{"text": "x"}], [{"text": "y"}]))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "line 1: it is not JSON"),
        (b'"text"', "line 1: it is not a JSON object"),
        (b'{"text": ""}', "document 1 has no text"),
        (b'{"text": 3}', "document 1 has no text"),
        (b'{"text": "\\ud800"}', "line 1: a text with half a surrogate pair"),
        (b'{"text": "a"}\n{"text": "b"}', "holds 2 documents where 1 were promised"),
        (b"[" * 100_000, "line 1: it is nested more than 64 deep"),
    ],
)
def test_a_mistaken_data_file_is_explained(line: bytes, message: str, bind: Bind) -> None:
    """Every document is read before any is measured."""
    bound = bind(HEAD, "bits_per_byte", [{"text": "x"}], [{"text": "y"}])
    (bound.root / "test.jsonl").write_bytes(line)
    digest = "sha256:" + hashlib.sha256(line).hexdigest()
    file = bound.suite.test.model_copy(update={"digest": digest})
    with pytest.raises(EvalError, match=message):
        count_tokens(
            None, [BoundSuite("power", bound.suite.model_copy(update={"test": file}), bound.root)], "test", "full"
        )


@pytest.mark.parametrize(
    "template", ["{{text}}", "a\n", "{{ text.strip() | upper }}", "{% if text %}{{ n + 1 }}{% endif %}"]
)
def test_templates_render_as_in_lm_eval(template: str) -> None:
    """What the sandbox allows gives the same text as lm-eval's own environment."""
    from cogen.evals.harness import quiet

    with quiet():
        from lm_eval.utils import apply_template
    document = {"text": " {{x}} ", "n": 3, "self": 1}
    assert render(template, document) == apply_template(template, {k: v for k, v in document.items() if k != "self"})
