"""The command line: one thin file a verb, one output sink, one error printer."""
