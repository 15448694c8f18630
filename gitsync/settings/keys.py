"""Every setting: its key, its type, its limits, its default and what it does.

The description of a field is what docs/configuration.md says of it. Nothing is read here: a `Settings` that is made with keyword
arguments is exactly these, and `gitsync.settings.reading` is what looks at the file and the environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from gitsync.model.duration import Duration
from gitsync.settings import grammar
from gitsync.settings.grammar import LOCAL
from gitsync.settings.outside import HostSettings, NotifySettings, SignatureSettings, WebSettings
from gitsync.settings.section import LocalPath, Section, at_least, between

RESERVED_SYNC = "api"


# -- Consul and its gateways ----------------------------------------------------------------------------------------------


class ConsulSettings(Section):
    """How to reach Consul, and as whom."""

    address: Annotated[str, AfterValidator(grammar.consul_address)] = Field(
        "http://127.0.0.1:8500",
        description="Agent of the primary datacenter. Plain http only to loopback, unless `allow_plain_http`.",
    )
    allow_plain_http: bool = Field(
        False,
        description="Allow http to another machine: the token and everything else then crosses the network readable.",
    )
    token: SecretStr | None = Field(None, description="Only from CONSUL_HTTP_TOKEN: a file is no place for a secret.")
    token_file: LocalPath | None = Field(None, description="File that holds the ACL token. Read again for every run.")
    ca_file: LocalPath | None = Field(
        None, description="CA certificates (PEM) that Consul's certificate must chain to."
    )
    cert_file: LocalPath | None = Field(None, description="Client certificate (PEM), together with `key_file`.")
    key_file: LocalPath | None = Field(None, description="Private key of `cert_file` (PEM).")
    timeout: Annotated[Duration, between("1s", "5m")] = Field(
        Duration.parse("10s"), description="Longest wait for one answer of Consul, 1s to 5m."
    )
    lock_ttl: Annotated[Duration, between("10s", "24h")] = Field(
        Duration.parse("15s"),
        description="TTL of the session behind the locks, 10s to 24h (Consul's own limits). "
        "A run that died blocks the next one for up to twice as long.",
    )
    concurrency: int = Field(
        32,
        ge=1,
        le=64,
        description="Most requests in flight to Consul, 1 to 64. An agent takes 200 connections a client.",
    )
    session_node: Annotated[str, AfterValidator(grammar.label)] | None = Field(
        None,
        description="Node that sessions belong to. Default: the agent's own. Needed where `address` is a load balancer.",
    )
    version: Annotated[str, AfterValidator(grammar.version)] | None = Field(
        None,
        description="Version of the oldest Consul server, such as 1.21.4. Needed where the token may not read agent/self.",
    )
    primary_datacenter: Annotated[str, AfterValidator(grammar.label)] | None = Field(
        None, description="Name of the primary datacenter. Needed only where the token may not read agent/self."
    )
    partition: Annotated[str, AfterValidator(grammar.tenant)] = Field(
        "default", description="Admin partition of specs that name none. Other than `default` needs Consul Enterprise."
    )
    namespace: Annotated[str, AfterValidator(grammar.tenant)] = Field(
        "default", description="Namespace of specs that name none. Other than `default` needs Consul Enterprise."
    )

    @model_validator(mode="after")
    def _fits(self) -> ConsulSettings:
        grammar.together(self.cert_file, "cert_file", self.key_file, "key_file")
        if self.token and self.token_file:
            raise PydanticCustomError("setting", "a token and a token_file are both given: keep one")
        if not self.allow_plain_http and grammar.is_plain_http_to_elsewhere(self.address):
            raise PydanticCustomError(
                "setting",
                "address is plain http to another machine, so the ACL token would cross the network readable: use https, "
                "or say allow_plain_http: true",
            )
        return self


class CertificateSet(Section):
    """Files that belong together on the gateway's own hosts."""

    ca_file: Annotated[str, AfterValidator(grammar.gateway_file)] = Field(
        description="CA certificates the gateway checks the service's certificate with."
    )
    cert_file: Annotated[str, AfterValidator(grammar.gateway_file)] | None = Field(
        None, description="Client certificate the gateway shows, together with `key_file`."
    )
    key_file: Annotated[str, AfterValidator(grammar.gateway_file)] | None = Field(
        None, description="Private key of `cert_file`."
    )

    @model_validator(mode="after")
    def _fits(self) -> CertificateSet:
        grammar.together(self.cert_file, "cert_file", self.key_file, "key_file")
        return self


class GatewaySettings(Section):
    """What exists on the hosts of one terminating gateway. The paths are theirs, not this machine's."""

    default_ca_file: Annotated[str, AfterValidator(grammar.gateway_file)] | None = Field(
        None,
        description="Fills in a `tls` block without `ca_file`, and counts as listed. "
        "It never adds TLS to a spec without a `tls` block.",
    )
    tls: tuple[CertificateSet, ...] = Field(
        (),
        description="The exact sets of files that specs may name: a path that is not there takes every service of the gateway "
        "down at its next restart.",
    )


# -- what the REST door will own ------------------------------------------------------------------------------------------


class Drift(StrEnum):
    """What happens when Consul differs from an applied spec although nothing was committed."""

    ENFORCE = "enforce"
    DETECT = "detect"
    OFF = "off"


class ApiSettings(Section):
    """The sync that owns what the REST door wrote."""

    drift: Drift = Field(Drift.ENFORCE, description="As `syncs.<sync>.drift`.")
    partition: Annotated[str, AfterValidator(grammar.tenant)] | None = Field(
        None, description="Partition of specs that name none."
    )
    namespace: Annotated[str, AfterValidator(grammar.tenant)] | None = Field(
        None, description="Namespace of specs that name none."
    )


# -- syncs ----------------------------------------------------------------------------------------------------------------


class History(StrEnum):
    """What happens when the branch was rewritten so that the applied commit is no ancestor any more."""

    STOP = "stop"
    FOLLOW = "follow"


class GitSettings(Section):
    """Which repository, what of it, and how to read it."""

    url: Annotated[str, AfterValidator(grammar.git_url)] = Field(
        description="https://, ssh://, user@host:path or file://; http:// only to loopback. A password in it is refused."
    )
    ref: Annotated[str, AfterValidator(grammar.git_ref)] = Field("main", description="Branch, tag or full commit SHA.")
    path: Annotated[str, AfterValidator(grammar.tree_path)] = Field(
        "", description="Directory that holds the specs. Default: the whole repository."
    )
    include: tuple[Annotated[str, AfterValidator(grammar.glob)], ...] = Field(
        (), description="Globs below `path`; only what matches one is read. Default: every *.yaml, *.yml and *.json."
    )
    exclude: tuple[Annotated[str, AfterValidator(grammar.glob)], ...] = Field(
        (), description="Globs below `path`; what matches one is passed over."
    )
    username: str | None = Field(None, description="User of `token_file`. Most hosts take any name; then it is `git`.")
    token_file: LocalPath | None = Field(
        None, description="File that holds the token for https. Read again for every fetch."
    )
    token_env: Annotated[str, AfterValidator(grammar.variable)] | None = Field(
        None, description="Environment variable that holds the token for https, instead of a file."
    )
    ssh_key_file: LocalPath | None = Field(None, description="Private key for ssh.")
    known_hosts_file: LocalPath | None = Field(
        None, description="Keys of the ssh hosts that are trusted. Unknown hosts are always refused."
    )
    ca_file: LocalPath | None = Field(None, description="CA certificates (PEM) for https, instead of the system's.")
    timeout: Annotated[Duration, between("1s", "1h")] = Field(
        Duration.parse("60s"), description="Longest time for one fetch, 1s to 1h. What it was doing is then ended."
    )
    history: History = Field(
        History.STOP,
        description="When the branch was rewritten: `stop` and wait for `sync --accept-rewrite`, or `follow` it.",
    )

    @model_validator(mode="after")
    def _fits(self) -> GitSettings:
        scheme = grammar.git_scheme(self.url)
        needs = {
            "username": "https",
            "token_file": "https",
            "token_env": "https",
            "ca_file": "https",
            "ssh_key_file": "ssh",
            "known_hosts_file": "ssh",
        }
        for name, needed in needs.items():
            fits = scheme == needed or (needed == "https" and scheme == "http" and name != "ca_file")
            if getattr(self, name) is not None and not fits:
                raise PydanticCustomError(
                    "setting",
                    "{name} is of use for {needed} only, and url is {scheme}",
                    {"name": name, "needed": needed, "scheme": scheme or "none"},
                )
        return self


class PruneSettings(Section):
    """How many services one run may delete without somebody's approval."""

    max_count: int = Field(10, ge=0, description="Most services that one run deletes without approval.")
    max_fraction: float = Field(
        0.2, ge=0, le=1, description="The same as a part of what the sync owns, 0 to 1. It counts from two deletes up."
    )


class SyncSettings(Section):
    """One repository, reconciled into Consul."""

    git: GitSettings = Field(description="The repository.")
    host: HostSettings | None = Field(None, description="The Git host's API.")
    interval: Annotated[Duration, at_least("5s")] = Field(
        Duration.parse("60s"), description="Time between two looks at the repository and at Consul, at least 5s."
    )
    prune: PruneSettings = Field(default_factory=PruneSettings, description="How much one run may delete.")
    adopt: bool = Field(
        False, description="Take over what stands in Consul under a spec's name and carries no owner mark."
    )
    drift: Drift = Field(
        Drift.ENFORCE,
        description="What somebody changed in Consul: `enforce` puts it back, `detect` only shows it, `off` does not look.",
    )
    strict: bool = Field(False, description="One bad spec refuses the whole commit, instead of only itself.")
    redact: tuple[str, ...] = Field(
        (), description="Labels of `metadata` whose values are shown nowhere outside Consul."
    )
    signatures: SignatureSettings = Field(
        default_factory=SignatureSettings, description="Whose signature a commit needs."
    )
    require_reviewed_plan: bool = Field(False, description="Apply only a plan that a pull request showed.")


class RetentionSettings(Section):
    """How long history is kept."""

    runs: Annotated[Duration, BeforeValidator(grammar.days), at_least("1h")] = Field(
        Duration.parse("2160h"),
        description="Age at which runs, with their steps and diffs, are forgotten. Takes days too, such as 90d.",
    )


class LogFormat(StrEnum):
    """How log lines look."""

    AUTO = "auto"
    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """From which level on log lines are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogSettings(Section):
    """What is logged, on standard error."""

    level: LogLevel = Field(LogLevel.INFO, description="Least level that is written.")
    format: LogFormat = Field(
        LogFormat.AUTO,
        description="`console` for people, `json` one object a line; `auto` asks whether it is a terminal.",
    )


class Settings(BaseSettings):
    """The whole configuration.

    `Settings(instance=…, syncs=…)` takes its arguments and looks at nothing else; `load_settings` reads file and environment.
    """

    model_config = SettingsConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    instance: Annotated[str, AfterValidator(grammar.short_name)] = Field(
        description="Name of this installation, `[a-z0-9-]{1,32}`. Part of every owner mark: two installations on one Consul "
        "need two names."
    )
    state_dir: LocalPath = Field(
        Path("/var/lib/gitsync"), description="Directory of the mirrors and caches. Can be lost."
    )
    store: Annotated[str, AfterValidator(grammar.store_url), LOCAL] = Field(
        "", description="History: `sqlite:///FILE` or `postgresql+psycopg://…`. Default: `gitsync.db` in `state_dir`."
    )
    consul: ConsulSettings = Field(default_factory=ConsulSettings, description="How to reach Consul.")
    gateway: Annotated[str, AfterValidator(grammar.gateway_name)] | None = Field(
        None, description="Terminating gateway of specs that name none."
    )
    gateways: Mapping[Annotated[str, AfterValidator(grammar.gateway_name)], GatewaySettings] = Field(
        default_factory=dict, description="What exists on the gateways' hosts, by gateway."
    )
    web: WebSettings = Field(default_factory=WebSettings, description="What gitsync serves.")
    retention: RetentionSettings = Field(default_factory=RetentionSettings, description="How long history is kept.")
    log: LogSettings = Field(default_factory=LogSettings, description="What is logged.")
    notify: tuple[NotifySettings, ...] = Field((), description="Whom to tell.")
    api: ApiSettings | None = Field(None, description="The sync of what the REST door wrote.")
    syncs: Mapping[Annotated[str, AfterValidator(grammar.short_name)], SyncSettings] = Field(
        min_length=1, description="The repositories, by sync. Names are `[a-z0-9-]{1,32}`; `api` is taken."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003  the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The layers that the caller brought, highest first, or the arguments alone: nothing is read behind anybody's back."""
        assert isinstance(init_settings, InitSettingsSource)
        return init_settings.init_kwargs.get("layers") or (init_settings,)

    @model_validator(mode="before")
    @classmethod
    def _store_beside_the_mirrors(cls, given: Any) -> Any:
        if isinstance(given, dict) and not given.get("store"):
            return {
                **given,
                "store": f"sqlite:///{given.get('state_dir', cls.model_fields['state_dir'].default)}/gitsync.db",
            }
        return given

    @model_validator(mode="after")
    def _fits(self) -> Settings:
        if RESERVED_SYNC in self.syncs:
            raise PydanticCustomError(
                "setting", "syncs: the name `api` is taken by what the REST door writes: choose another"
            )
        seen: dict[tuple[object, ...], str] = {}
        for name, sync in self.syncs.items():
            git = sync.git
            other = seen.setdefault((git.url, git.ref, git.path, git.include, git.exclude), name)
            if other != name:
                raise PydanticCustomError(
                    "setting",
                    "syncs: {one} and {two} read the same files, so each would see every service owned by the other: remove one",
                    {"one": other, "two": name},
                )
        return self
