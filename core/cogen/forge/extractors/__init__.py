"""One module a family of formats; :mod:`cogen.forge.extract` chooses among them."""
