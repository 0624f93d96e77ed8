from support.sites import site

__all__ = ["site"]
