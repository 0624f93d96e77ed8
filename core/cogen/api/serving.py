"""``cogen.serve``: a model as an OpenAI-compatible endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from cogen.api.checks import as_host, as_names, as_path, as_text, check_number, check_reporter
from cogen.api.options import PathLike
from cogen.extras import require
from cogen.reporter import SILENT, Reporter

if TYPE_CHECKING:
    from cogen.host import Host
    from cogen.serving.serve import Endpoint


def serve(
    model: PathLike,
    *,
    engine: str | None = None,
    address: str = "127.0.0.1",
    port: int = 8000,
    engine_options: Sequence[str] = (),
    host: Host | None = None,
    reporter: Reporter = SILENT,
) -> AbstractContextManager[Endpoint]:
    """An OpenAI-compatible endpoint, while a ``with`` block runs::

        with cogen.serve("composite", port=0) as endpoint:
            client = openai.OpenAI(base_url=endpoint.url, api_key="none")

    :param model: a model folder, an export to gguf, fp8 or int8, a GGUF file, or a route.
    :param engine: "transformers", "vllm" or "llama-server"; default: the first that is installed and reads the model.
    :param address: what to listen on; nothing but this machine by default, since there is no authentication.
    :param port: 0: any free one.
    :param engine_options: further arguments of the engine's own command line.
    :raises CogenError: no engine is installed or fits, the port is taken, or the engine did not start.
    """
    require("fuse", "cogen.serve")
    from cogen.serving.serve import serving

    check_number("port", port, 0, whole=True)
    check_reporter(reporter)
    return serving(
        as_path("model", model),
        engine=engine,
        host=as_text("address", address),
        port=port,
        options=as_names("engine_options", list(engine_options)),
        registry=lambda: as_host(host),
        reporter=reporter,
    )
