"""Paths of this room."""

from __future__ import annotations

from fastapi import APIRouter

from cogen_registry.service import Service


def router(service: Service) -> APIRouter:
    return APIRouter()
