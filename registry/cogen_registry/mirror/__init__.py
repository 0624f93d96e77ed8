"""Parts of `cogen-registry export`: what of a registry becomes which file of a mirror."""
