"""The settings for whoever is outside: what is served, the Git host, whom to tell, and whose signature counts."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from gitsync.settings import grammar
from gitsync.settings.section import LocalPath, Section


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
