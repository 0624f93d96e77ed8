"""What the weights of an expert reveal of its training text, and what that text holds of persons.

``canaries``, ``extraction`` and ``membership`` measure a model; ``verdict`` makes one of their figures; ``personal``
searches texts. All work on models, token ids and plain texts: :mod:`cogen.forge.audit` says which. docs/audit.md
explains the figures.
"""
