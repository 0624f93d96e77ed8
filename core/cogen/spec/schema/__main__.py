"""Write the published schema anew."""

from cogen.spec.schema import FILE, render

FILE.write_text(render(), encoding="utf-8")
