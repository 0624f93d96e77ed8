"""Reading what others wrote: one reader with limits for each kind, one border around other people's code, one printer.

Nothing here knows models, plugins or files of CoGen; every other package may use it.
"""
