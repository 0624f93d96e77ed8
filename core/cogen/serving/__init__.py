"""A model as an OpenAI-compatible endpoint, by an engine that is installed: transformers, vLLM or llama.cpp.

The servers are the engines' own. What is done here is the choice between them, their command line, and waiting until
they answer; of a route, also the choice of the expert for each request.
"""
