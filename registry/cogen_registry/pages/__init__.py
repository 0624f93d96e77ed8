"""Pages for people: server-rendered, cached until something changes, usable without JavaScript."""
