"""Reading a task file as data.

lm-eval's own loader imports the file that a ``!function`` tag names and follows ``include``. A plugin's task
file never reaches it: it is read here, and only checked values go on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from cogen.errors import EvalError, UnsafeError

YAML_LIMIT = 64 * 1024
_MARKS = 6_000

#: What a hint says wherever a suite tries to bring code.
HOOK_HINT = "a suite is data; one that needs code goes through the hook `cogen_eval_suites` and the user's consent"


class _DataLoader(yaml.SafeLoader):
    """YAML without tags, aliases (an alias bomb fits in 300 bytes) and repeated keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise UnsafeError("a task file may not use YAML aliases", hint="write the value out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if len({str(key) for key in keys}) != len(keys):
            raise EvalError("a task file has the same key twice", hint="remove one of them")
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in ``path``.

    :raises UnsafeError: a tag such as ``!function``, an alias, or more than :data:`YAML_LIMIT` bytes.
    :raises EvalError: not a YAML mapping.
    """
    with path.open("rb") as file:
        data = file.read(YAML_LIMIT + 1)
    if len(data) > YAML_LIMIT:
        raise UnsafeError(f"{path.name} is larger than {YAML_LIMIT // 1024} KiB", hint="put data into the JSONL files")
    if sum(data.count(mark) for mark in b"[{,:") > _MARKS:  # the reader takes its time over each
        raise UnsafeError(f"{path.name} has more than {_MARKS:,} values", hint="put data into the JSONL files")
    try:
        # _DataLoader is a SafeLoader: it builds plain values only.
        value = yaml.load(data.decode("utf-8"), Loader=_DataLoader)
    except yaml.constructor.ConstructorError as error:
        raise UnsafeError(f"{path.name}: {error.problem}", hint=HOOK_HINT) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        problem = getattr(error, "problem", None) or type(error).__name__
        raise EvalError(f"{path.name} is not valid YAML: {problem}", hint="see the task files of lm-eval") from error
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise EvalError(f"{path.name} is not a mapping of names to values", hint="see the task files of lm-eval")
    return value
