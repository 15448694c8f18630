"""Every setting: its key, its type, its limits, its default and what it does.

The description of a field is what docs/configuration.md says of it. Nothing is read here: a `Settings` that is made with keyword
arguments is exactly these, and `gitsync.settings.reading` is what looks at the file and the environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from gitsync.model.duration import Duration
from gitsync.settings import grammar
from gitsync.settings.grammar import LOCAL

RESERVED_SYNC = "api"

LocalPath = Annotated[Path, LOCAL]
"""A file of this machine. Relative ones were made absolute by whoever read them."""


def _at_least(least: str) -> AfterValidator:
    return AfterValidator(grammar.duration_within(Duration.parse(least), None))


def _between(least: str, most: str) -> AfterValidator:
    return AfterValidator(grammar.duration_within(Duration.parse(least), Duration.parse(most)))


class Section(BaseModel):
    """A group of keys. Unknown keys are errors; values do not change once they were read."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
    timeout: Annotated[Duration, _between("1s", "5m")] = Field(
        Duration.parse("10s"), description="Longest wait for one answer of Consul, 1s to 5m."
    )
    lock_ttl: Annotated[Duration, _between("10s", "24h")] = Field(
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


# -- what comes with later versions ---------------------------------------------------------------------------------------


class ServerTls(Section):
    """The certificate that gitsync itself shows."""

    cert_file: LocalPath = Field(description="Certificate chain (PEM).")
    key_file: LocalPath = Field(description="Private key (PEM).")


class WebSettings(Section):
    """What gitsync serves over HTTP."""

    listen: Annotated[str, AfterValidator(grammar.listen)] = Field(
        "127.0.0.1:8080",
        description="Address and port of /healthz, /readyz, /metrics, /hooks and the pages. Port 0 takes a free one.",
    )
    hooks_listen: Annotated[str, AfterValidator(grammar.listen)] | None = Field(
        None, description="Another address and port at which /hooks is served and nothing else, for the outside."
    )
    public_url: Annotated[str, AfterValidator(grammar.web_url)] | None = Field(
        None, description="What links in commit statuses begin with: where the pages are reached from."
    )
    tls: ServerTls | None = Field(None, description="Serve https, at both addresses.")
    anonymous_read: bool = Field(
        False,
        description="Show the pages to everybody who reaches them. Without it they are shown on this machine only.",
    )


class HostKind(StrEnum):
    """The Git hosts."""

    GITHUB = "github"
    GITLAB = "gitlab"
    GITEA = "gitea"
    FORGEJO = "forgejo"
    BITBUCKET_CLOUD = "bitbucket-cloud"
    BITBUCKET_DATACENTER = "bitbucket-datacenter"
    AZURE_DEVOPS = "azure-devops"
    GENERIC = "generic"


class PlanReport(StrEnum):
    """How a pull request is told of its plan."""

    COMMENT = "comment"
    STATUS = "status"
    OFF = "off"


class Forks(StrEnum):
    """What is done for a pull request from a fork."""

    VALIDATE = "validate"
    OFF = "off"


class HostApp(Section):
    """A GitHub App."""

    id: str = Field(description="Number of the app.")
    key_file: LocalPath = Field(description="Private key of the app (PEM).")


class HostSettings(Section):
    """The Git host's API: where statuses and plans are reported."""

    kind: HostKind = Field(description="Which host it is.")
    api_url: Annotated[str, AfterValidator(grammar.web_url)] | None = Field(
        None, description="Its API. Default: the public one."
    )
    repo: str | None = Field(None, description="Owner and name of the repository there. Default: from `git.url`.")
    token_file: LocalPath | None = Field(
        None, description="File that holds the API token. Read again for every request."
    )
    token_env: Annotated[str, AfterValidator(grammar.variable)] | None = Field(
        None, description="Environment variable that holds the API token, instead of a file."
    )
    app: HostApp | None = Field(
        None, description="A GitHub App, instead of a token; git fetches by it too, where `git` has no credentials."
    )
    webhook_secret_files: tuple[LocalPath, ...] = Field(
        (), max_length=2, description="Files with the webhook's secrets, the current and the previous one."
    )
    plan: PlanReport = Field(PlanReport.COMMENT, description="How a pull request is told of its plan.")
    forks: Forks = Field(Forks.VALIDATE, description="What is done for pull requests from forks.")

    @model_validator(mode="after")
    def _fits(self) -> HostSettings:
        if sum(each is not None for each in (self.token_file, self.token_env, self.app)) > 1:
            raise grammar.wrong("token_file, token_env and app: keep one of them")
        if self.app and self.kind is not HostKind.GITHUB:
            raise grammar.wrong(f"app is of use for github only, and kind is {self.kind}")
        return self


class NotifyEvent(StrEnum):
    """What somebody can be told of."""

    FINISHED = "finished"
    FAILED = "failed"
    HELD = "held"
    DRIFT = "drift"


class NotifySettings(Section):
    """Somebody to tell."""

    url: Annotated[str, AfterValidator(grammar.web_url)] = Field(description="Where to POST.")
    secret_file: LocalPath | None = Field(None, description="Key that signs the body.")
    on: tuple[NotifyEvent, ...] = Field((NotifyEvent.FAILED, NotifyEvent.HELD), description="For what.")


class SignatureMode(StrEnum):
    """Which commits must be signed."""

    OFF = "off"
    HEAD = "head"
    RANGE = "range"


class SignatureSettings(Section):
    """Whose signature a commit needs."""

    mode: SignatureMode = Field(
        SignatureMode.OFF,
        description="Which commits must be signed: none, the one that is applied, or also every one since the last applied.",
    )
    allowed_signers_file: LocalPath | None = Field(
        None,
        description="SSH keys that count, as `ssh-keygen` reads them. A line that is out of its time counts no more.",
    )
    revoked_signers_file: LocalPath | None = Field(
        None, description="SSH keys that never count: public keys, or a revocation list of `ssh-keygen -k`."
    )
    gpg_keys_file: LocalPath | None = Field(
        None, description="GPG keys that count, as `gpg --export` writes them; no other keyring is looked at."
    )
    gpg_fingerprints: tuple[Annotated[str, AfterValidator(grammar.fingerprint)], ...] = Field(
        (), description="Fingerprints of the primary keys in `gpg_keys_file` that count. Default: all of them."
    )

    @model_validator(mode="after")
    def _fits(self) -> SignatureSettings:
        if self.mode is not SignatureMode.OFF and not (self.allowed_signers_file or self.gpg_keys_file):
            raise grammar.wrong("no commit could be trusted: name an allowed_signers_file, a gpg_keys_file, or both")
        if self.gpg_fingerprints and not self.gpg_keys_file:
            raise grammar.wrong("gpg_fingerprints is given without gpg_keys_file: the keys themselves are needed")
        if self.revoked_signers_file and not self.allowed_signers_file:
            raise grammar.wrong("revoked_signers_file is given without allowed_signers_file: they belong together")
        return self


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
    timeout: Annotated[Duration, _between("1s", "1h")] = Field(
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
    interval: Annotated[Duration, _at_least("5s")] = Field(
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

    runs: Annotated[Duration, BeforeValidator(grammar.days), _at_least("1h")] = Field(
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
