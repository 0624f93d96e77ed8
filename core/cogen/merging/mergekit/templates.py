"""Named chat templates, written from the public definitions of the formats.

Rendered by transformers with ``trim_blocks`` and ``lstrip_blocks``: a tag's own line leaves nothing behind.
"""

from __future__ import annotations

from cogen.errors import UsageError

#: https://github.com/tatsu-lab/stanford_alpaca: the format with an instruction and a response.
_ALPACA = """\
{%- for message in messages -%}
{%- if message.role == 'system' -%}
{{- message.content | trim + '\\n\\n' -}}
{%- elif message.role == 'user' -%}
{{- '### Instruction:\\n' + message.content | trim + '\\n\\n' -}}
{%- elif message.role == 'user_context' -%}
{{- '### Input:\\n' + message.content | trim + '\\n\\n' -}}
{%- elif message.role == 'assistant' -%}
{{- '### Response:\\n' + message.content | trim + '\\n\\n' -}}
{%- else -%}
{{- raise_exception('alpaca knows the roles system, user, user_context and assistant') -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '### Response:\\n' -}}
{%- endif -%}
"""

#: https://github.com/openai/openai-python/blob/release-v0.28.1/chatml.md
_CHATML = """\
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""

#: https://huggingface.co/LGAI-EXAONE: [|role|]text[|endofturn|]; a user's turn ends with the line.
_EXAONE = """\
{%- if messages and messages[0].role != 'system' -%}
{{- '[|system|][|endofturn|]\\n' -}}
{%- endif -%}
{%- for message in messages -%}
{{- '[|' + message.role + '|]' + message.content -}}
{{- '\\n' if message.role == 'user' else '[|endofturn|]\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '[|assistant|]' -}}
{%- endif -%}
"""

#: https://github.com/meta-llama/llama3: Llama 3 Instruct.
_LLAMA3 = """\
{{- bos_token -}}
{%- for message in messages -%}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}
{%- endif -%}
"""

#: https://github.com/mistralai/mistral-common: version 1 of the instruct format, a system prompt in the first turn.
_MISTRAL = """\
{{- bos_token -}}
{%- set state = namespace(system='', expects='user') -%}
{%- for message in messages -%}
{%- if message.role == 'system' and loop.first -%}
{%- set state.system = message.content + '\\n\\n' -%}
{%- elif message.role != state.expects -%}
{{- raise_exception('mistral takes turns: user, assistant, user ... after an optional system message') -}}
{%- elif message.role == 'user' -%}
{{- ' [INST] ' + state.system + message.content + ' [/INST]' -}}
{%- set state.system = '' -%}
{%- set state.expects = 'assistant' -%}
{%- else -%}
{{- ' ' + message.content + eos_token -}}
{%- set state.expects = 'user' -%}
{%- endif -%}
{%- endfor -%}
"""

TEMPLATES = {"alpaca": _ALPACA, "chatml": _CHATML, "exaone": _EXAONE, "llama3": _LLAMA3, "mistral": _MISTRAL}


def named_template(setting: str) -> str:
    """The template of this name, or the setting itself if it is a Jinja template.

    :raises UsageError: it is neither.
    """
    if setting in TEMPLATES:
        return TEMPLATES[setting]
    if "{" not in setting:
        raise UsageError(
            f"unknown chat_template {setting[:60]!r}",
            hint=f"one of auto, {', '.join(TEMPLATES)}, or a Jinja template",
        )
    return setting
