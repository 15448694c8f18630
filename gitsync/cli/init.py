"""`gitsync init`: a first configuration, from a look at the repository and at Consul."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from gitsync import wire
from gitsync.cli.call import FINE, carry_out, settings_of
from gitsync.cli.draft import Answers, Seen, written
from gitsync.cli.options import Debug, Json
from gitsync.cli.screen import Screen, error_as_json, number, short
from gitsync.model.errors import GitsyncError, Invalid
from gitsync.model.key import Kind
from gitsync.model.revision import parse_address
from gitsync.model.spec import SpecDefaults
from gitsync.settings import Settings, load_settings
from gitsync.settings.reading import DEFAULT_FILE


def init(
    git_url: Annotated[
        str,
        typer.Argument(
            metavar="GIT_URL",
            help="The repository with the specs: https://…, ssh://…, user@host:path, or a folder of this machine.",
            show_default=False,
        ),
    ],
    *,
    consul: Annotated[
        str,
        typer.Option(
            "--consul", metavar="ADDR", envvar="CONSUL_HTTP_ADDR", help="Consul, an agent of the primary datacenter."
        ),
    ] = "http://127.0.0.1:8500",
    path: Annotated[
        str,
        typer.Option(
            "--path", metavar="DIR", help="The folder of the repository that holds the specs.", show_default=False
        ),
    ] = "",
    ref: Annotated[str, typer.Option("--ref", metavar="REF", help="Branch, tag or full commit SHA.")] = "main",
    instance: Annotated[
        str,
        typer.Option(
            "--instance",
            metavar="NAME",
            help="Name of this installation, part of every owner mark. Default: Consul's datacenter.",
            show_default=False,
        ),
    ] = "",
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", help="Token for https.", show_default=False)
    ] = None,
    ssh_key_file: Annotated[
        Path | None, typer.Option("--ssh-key-file", metavar="FILE", help="Private key for ssh.", show_default=False)
    ] = None,
    known_hosts_file: Annotated[
        Path | None, typer.Option("--known-hosts-file", metavar="FILE", help="Trusted ssh hosts.", show_default=False)
    ] = None,
    state_dir: Annotated[
        str, typer.Option("--state-dir", metavar="DIR", help="Where mirrors and history are kept.")
    ] = "./gitsync-state",
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write it.")] = DEFAULT_FILE,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write a configuration for a repository, after a look at it and at Consul.

    What cannot be reached is said, and the configuration is written all the same. Nothing is written to Consul. An ACL token
    is taken from CONSUL_HTTP_TOKEN, and is not put into the file.

    Examples:

      gitsync init https://git.example/platform/specs.git --path services
      gitsync init git@git.example:platform/specs.git --consul https://consul.example:8501 --instance prod-eu
    """

    async def work(screen: Screen) -> int:
        if output.exists() and not force:
            raise Invalid(f"{output} is there already. Name another file with --output, or overwrite it with --force.")
        url = _url(git_url)
        files = {"token_file": token_file, "ssh_key_file": ssh_key_file, "known_hosts_file": known_hosts_file}
        credentials = {name: str(file.absolute()) for name, file in files.items() if file}
        address = _address(consul)
        answers = Answers(
            url, ref, path.strip("/"), address, instance or "main", _sync_name(url), state_dir, credentials
        )
        _checked(written(answers, Seen()), output)
        seen = await _look(answers)
        if not instance and (name := _name(seen.datacenter)):
            answers = replace(answers, instance=name)
        text = written(answers, seen)
        _checked(text, output)
        _write(output, text, force=force)
        _tell(screen, answers, seen, output)
        return FINE

    carry_out(work, as_json=as_json, debug=debug)


# -- looking --------------------------------------------------------------------------------------------------------------


async def _look(answers: Answers) -> Seen:
    seen = Seen()
    with tempfile.TemporaryDirectory(prefix="gitsync-init-") as folder:
        settings = _settings(answers, Path(folder))
        try:
            specs = wire.mirror_of(settings, answers.sync, SpecDefaults())
            revision = await specs.fetch()
            files = await specs.load(revision, "")
            seen.revision, seen.files = revision, len(files)
            seen.services = sum(len(file.specs) + len(file.named) for file in files)
            seen.errors = sum(1 for file in files if file.unreadable or file.named or file.unnamed)
        except GitsyncError as error:
            seen.troubles["git"] = error
        try:
            async with wire.connected(settings) as (agent, features):
                seen.version, seen.datacenter = features.version_text, features.datacenter
                seen.gateways = sorted(entry.name for entry in (await agent.list_entries(Kind.GATEWAY_ROW)).entries)
        except GitsyncError as error:
            seen.troubles["consul"] = error
    return seen


def _settings(answers: Answers, folder: Path) -> Settings:
    """What will be written, with the credentials that the environment has (CONSUL_HTTP_TOKEN, CONSUL_CACERT)."""
    file = folder / "gitsync.yaml"
    file.write_text(written(answers, Seen()), encoding="utf-8")
    environ = {name: value for name, value in os.environ.items() if name != "CONSUL_HTTP_ADDR"}
    return settings_of(file, lambda _: None, environ).model_copy(update={"state_dir": folder})


def _url(text: str) -> str:
    """The repository's address; a folder of this machine as file://."""
    folder = Path(text).expanduser()
    if "://" not in text and folder.is_dir():
        return f"file://{folder.absolute()}"
    return parse_address(text).text


def _address(text: str) -> str:
    """Consul's address; one without a scheme as Consul's own tools read it."""
    secure = os.environ.get("CONSUL_HTTP_SSL", "").lower() in ("1", "t", "true")
    return text if "://" in text else f"{'https' if secure else 'http'}://{text}"


def _sync_name(url: str) -> str:
    return _name(parse_address(url).path.rstrip("/").removesuffix(".git").rpartition("/")[2]) or "specs"


def _name(text: str) -> str:
    """*text* as a name of ours, `[a-z0-9-]{1,32}`."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:32].strip("-")
    return f"{name}-specs" if name == "api" else name


# -- writing --------------------------------------------------------------------------------------------------------------


def _checked(text: str, output: Path) -> None:
    """Read it as `gitsync` will. Raises Invalid for what the command line made wrong of it."""
    with tempfile.TemporaryDirectory(prefix="gitsync-init-") as folder:
        file = Path(folder) / output.name
        file.write_text(text, encoding="utf-8")
        try:
            load_settings(file, {})
        except Invalid as error:
            raise Invalid(str(error).replace(str(file), str(output))) from None


def _write(output: Path, text: str, *, force: bool) -> None:
    try:
        with output.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise Invalid(f"{output} cannot be written: {error.strerror}. Name another file with --output.") from None


def _tell(screen: Screen, answers: Answers, seen: Seen, output: Path) -> None:
    document = {
        "written": str(output),
        "instance": answers.instance,
        "sync": answers.sync,
        "git": {
            "url": answers.url,
            "revision": seen.revision.sha if seen.revision else None,
            "files": seen.files,
            "services": seen.services,
            "files_with_errors": seen.errors,
        },
        "consul": {
            "address": answers.consul,
            "version": seen.version or None,
            "datacenter": seen.datacenter or None,
            "gateways": seen.gateways,
        },
        "troubles": {what: error_as_json(error) for what, error in seen.troubles.items()},
    }
    screen.document(document)
    for what, error in seen.troubles.items():
        screen.warn(f"{what} could not be looked at: {error}")
    if seen.revision:
        found = f"{number(seen.files, 'spec file')}, {number(seen.services, 'service')}"
        wrong = f", {seen.errors} of the files with errors" if seen.errors else ""
        screen.line(f"repository  {short(seen.revision.sha)} {seen.revision.subject}: {found}{wrong}")
    if seen.version:
        gateways = ", ".join(seen.gateways) or "none yet"
        screen.line(f"consul      {seen.version}, datacenter {seen.datacenter}, terminating gateways: {gateways}")
    screen.line(("written     ", "good"), str(output))
    screen.line("")
    named = "" if output == DEFAULT_FILE else f" --config {output}"
    screen.line(f"Look at it, then: gitsync plan{named}")
