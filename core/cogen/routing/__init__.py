"""What routers are made of: states of the base, rows that tell one text from general text, sentence embeddings.

Used where experts are trained (``forge``) and where they are composed (``fusion``).
"""
