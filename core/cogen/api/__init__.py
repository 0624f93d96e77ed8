"""The Python interface: what ``import cogen`` offers, and what the command line calls.

One module for each kind of result; see docs/python.md. Importing them imports nothing heavy: torch and transformers are
imported when a function that needs them is called. Nothing is printed: progress goes to ``reporter``, results are
returned, and every mistake that a caller can fix is a :class:`~cogen.errors.CogenError`.
"""
