"""The upload: who it is and how much comes is known before the first byte of the form is read."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from packaging.utils import canonicalize_name
from starlette.requests import ClientDisconnect

from cogen_registry.admission.quota import limits_of
from cogen_registry.admission.releases import admit
from cogen_registry.admission.turns import turns_of
from cogen_registry.auth import Principal, required
from cogen_registry.errors import Refused
from cogen_registry.packages.form import UploadForm, drain
from cogen_registry.service import Service
from cogen_registry.settings import MB

#: A client that is refused is listened to for so many bytes: it reads the answer only when it has sent its body.
_DRAINED = 32 * MB


async def receive(service: Service, request: Request) -> dict[str, Any]:
    """One upload, from its first byte to the release.

    :raises Refused: nothing of it stays.
    """
    body = request.stream()
    try:
        principal = await run_in_threadpool(_checked, service, request)
        limits = limits_of(service.settings.limits, principal.limits)
        with await run_in_threadpool(service.blobs.stage) as staged:
            form = UploadForm(request.headers.get("content-type", ""), staged, limits.metadata, limits.wheel)
            async for block in body:
                await run_in_threadpool(form.feed, block)
            form.close()
            fields = form.fields | {"filename": form.filename or ""}
            if fields.get(":action") != "file_upload" or fields.get("protocol_version", "1") != "1":
                raise Refused(400, "unsupported form: this is not an upload", hint="upload with twine or uv")
            release = await turns_of(service).run(principal.id, admit, service, principal, staged, fields)
    except ClientDisconnect:
        raise Refused(400, "the upload was cut off", hint="upload it again") from None
    except Refused as error:
        try:
            async with asyncio.timeout(service.settings.limits.slow_seconds):
                await drain(body, _DRAINED)
        except ClientDisconnect:
            pass
        except TimeoutError:  # who was refused, and may be anybody, holds no place any longer
            error.headers["Connection"] = "close"
        raise
    return {
        "project": canonicalize_name(fields["name"]),
        "version": release.version,
        "state": release.state,
        "reason": release.reason,
    }


def _checked(service: Service, request: Request) -> Principal:
    principal = required(service.sessions)(request)
    if not any(scope.partition(":")[0] == "packages" for scope in principal.scopes):
        principal.need("packages")
    length = request.headers.get("content-length", "")
    if not length.isdigit():
        raise Refused(411, "the upload has no Content-Length", hint="send Content-Length")
    limits = limits_of(service.settings.limits, principal.limits)
    if int(length) > limits.wheel + limits.metadata:
        raise Refused(
            413,
            f"the upload has {int(length):,} bytes, a wheel at most {limits.wheel:,}",
            hint="upload large weights as a repository and pin them with hf://",
        )
    return principal
