"""The tokens of a composite: which there are, whose embeddings they get, and a tokenizer and config that agree."""

from cogen.merging.vocabulary.configs import apply_changes
from cogen.merging.vocabulary.plan import Vocabulary, plan_vocabulary
from cogen.merging.vocabulary.request import ModelToken, TokenSource, VocabularyConfig
from cogen.merging.vocabulary.template import chat_template, most_common_template, set_chat_template

__all__ = [
    "ModelToken",
    "TokenSource",
    "Vocabulary",
    "VocabularyConfig",
    "apply_changes",
    "chat_template",
    "most_common_template",
    "plan_vocabulary",
    "set_chat_template",
]
