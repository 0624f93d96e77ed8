"""Text in any language: decoding, cutting into documents, and n-grams that find copies.

Boundaries and scripts are Unicode's (UAX #29, UAX #24), from the ``regex`` library.
"""
