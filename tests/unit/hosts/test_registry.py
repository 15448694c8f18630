"""Every host that the configuration can name is there, and is a whole one."""

from __future__ import annotations

import inspect

import httpx
import pytest

from gitsync.hosts import PROVIDERS
from gitsync.hosts.credentials import StaticToken
from gitsync.hosts.provider import Provider, Webhooks
from gitsync.model.host import Capabilities, RepoRef
from gitsync.settings.outside import HostKind


def test_every_kind_of_host_has_a_provider():
    assert set(PROVIDERS) == {str(kind) for kind in HostKind}


@pytest.mark.parametrize("kind", sorted(PROVIDERS))
async def test_a_provider_takes_what_every_provider_takes(kind):
    name = "acme/ops/specs" if kind == "azure-devops" else "acme/specs"
    async with httpx.AsyncClient() as client:
        provider = PROVIDERS[kind](RepoRef("https://host.example", name), StaticToken("x"), client)

    assert isinstance(provider.capabilities, Capabilities)
    assert provider.capabilities.comment <= 60_000
    for protocol, found in ((Provider, provider), (Webhooks, provider.webhooks)):
        for method, wanted in inspect.getmembers(protocol, inspect.isfunction):
            if not method.startswith("_"):
                parameters = list(inspect.signature(wanted).parameters)[1:]
                assert list(inspect.signature(getattr(found, method)).parameters) == parameters
