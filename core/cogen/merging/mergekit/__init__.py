"""mergekit's recipes, carried out by our engine: ``cogen fuse --from-mergekit config.yml``.

mergekit (LGPL-3.0) is read for what its recipes mean; nothing of its code is here.
"""
