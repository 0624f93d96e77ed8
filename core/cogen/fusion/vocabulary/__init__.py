"""The tokens of a composite: which there are, whose embeddings they get, and a tokenizer and config that agree."""

from cogen.fusion.vocabulary.configs import changed
from cogen.fusion.vocabulary.plan import Vocabulary, plan_vocabulary
from cogen.fusion.vocabulary.template import chat_template, set_chat_template, usual_chat_template
from cogen.fusion.vocabulary.wish import ModelToken, TokenWish, VocabularyWish

__all__ = [
    "ModelToken",
    "TokenWish",
    "Vocabulary",
    "VocabularyWish",
    "changed",
    "chat_template",
    "plan_vocabulary",
    "set_chat_template",
    "usual_chat_template",
]
