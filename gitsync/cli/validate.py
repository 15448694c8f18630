"""`gitsync validate`: are these specs right? Asked of nobody but the files, so it runs anywhere, also before a push."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from gitsync import wire
from gitsync.cli.call import FINE, REFUSED, carry_out, settings_of
from gitsync.cli.checking import NEWEST, Ground, below, ground_of, judge, settings_if_any
from gitsync.cli.choice import chosen, the_one
from gitsync.cli.options import Config, Debug, Json, OneSync
from gitsync.cli.screen import Screen, number, short
from gitsync.core.shown import finding_json
from gitsync.model.desired import ParsedFile
from gitsync.model.errors import Invalid
from gitsync.model.finding import Finding, Severity
from gitsync.model.revision import NO_REVISION, Refusal
from gitsync.settings import Settings

TONES = {Severity.ERROR: "bad", Severity.WARNING: "wait", Severity.NOTE: "quiet"}


@dataclass(frozen=True, slots=True)
class Read:
    """The files that were read. root: what their paths are below. revision: "" for a folder."""

    root: str
    revision: str
    files: tuple[ParsedFile, ...]
    passed_over: tuple[Refusal, ...]


def validate(
    path: Annotated[
        Path | None, typer.Argument(metavar="PATH", help="A spec file, or a folder of them.", show_default=False)
    ] = None,
    rev: Annotated[
        str,
        typer.Option(
            "--rev", metavar="SHA", help="Instead of PATH: this commit of a sync's repository.", show_default=False
        ),
    ] = "",
    sync: OneSync = None,
    consul_version: Annotated[
        str,
        typer.Option(
            "--consul-version",
            metavar="VERSION",
            help="Say also what this version of Consul makes of the specs; 1.18.2+ent is Enterprise. "
            f"Default: consul.version of the configuration, else {NEWEST}.",
            show_default=False,
        ),
    ] = "",
    config: Config = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Check specs without Consul: what is wrong, and where.

    Every finding begins with file:line:column. Files that were passed over are listed with the reason. With PATH no
    configuration is needed; if there is one, its gateways, defaults and globs count.

    Examples:

      gitsync validate services/
      gitsync validate services/pay.yaml --consul-version 1.12.9
      gitsync validate --rev 4f5c1de0 --sync payments

    Exit code 3 if anything is an error.
    """
    if (path is None) == (not rev):
        raise typer.BadParameter("Name a PATH, or a commit with --rev: one of the two.")

    async def work(screen: Screen) -> int:
        settings = settings_if_any(config, screen) if path else settings_of(config, screen.warn)
        ground = ground_of(settings, consul_version)
        read = await (_folder(path, settings, sync, ground) if path else _commit(rev, settings, sync, ground))
        found, services = judge(read.files, read.revision, ground)
        findings = [below(read.root, each) for each in found]
        screen.document(_as_json(read, findings, services, ground))
        _show(screen, read, findings, services, ground)
        return REFUSED if any(finding.severity is Severity.ERROR for finding in findings) else FINE

    carry_out(work, as_json=as_json, debug=debug)


async def _folder(path: Path, settings: Settings | None, sync: str | None, ground: Ground) -> Read:
    known = settings.syncs if settings else {}
    if sync and not settings:
        raise Invalid("--sync needs a configuration, and there is none: name it with --config.")
    names = chosen([sync] if sync else None, known) if settings else []
    globs = known[names[0]] if len(names) == 1 else None
    specs = wire.specs_in(path, globs, ground.defaults)
    files = await specs.load(NO_REVISION, "")
    single = len(files) == 1 and path.name == files[0].path
    return Read(str(path.parent if single else path), "", files, specs.passed_over)


async def _commit(rev: str, settings: Settings | None, sync: str | None, ground: Ground) -> Read:
    assert settings is not None
    name = the_one(sync, settings.syncs, "a commit is one of a sync's repository")
    specs = wire.mirror_of(settings, name, ground.defaults)
    revision = await specs.resolve(rev)
    files = await specs.load(revision, "")
    return Read("", revision.sha, files, specs.passed_over)


def _counts(findings: Sequence[Finding]) -> dict[str, int]:
    seen = Counter(finding.severity for finding in findings)
    return {f"{severity}s": seen[severity] for severity in reversed(Severity)}


def _show(screen: Screen, read: Read, findings: Sequence[Finding], services: int, ground: Ground) -> None:
    for each in findings:
        subject = " ".join(str(part) for part in (each.service, each.spec_path) if part)
        screen.line(
            f"{each.place}: " if each.place else "",
            (str(each.severity), TONES[each.severity]),
            f" {each.code}" + (f" [{subject}]" if subject else "") + f": {each.message}",
        )
        if each.hint:
            screen.line(("    " + each.hint, "quiet"))
    if findings:
        screen.line("")
    if read.passed_over:
        screen.line(("passed over", "head"))
        screen.columns([(each.path, (each.reason, "quiet")) for each in read.passed_over], indent=2)
        screen.line("")
    if read.revision:
        screen.line(f"commit {short(read.revision)}")
    counts = _counts(findings)
    screen.line(
        number(len(read.files), "file"), ", ", number(services, "service"), ": ",
        (number(counts["errors"], "error"), "bad" if counts["errors"] else "good"), ", ",
        (number(counts["warnings"], "warning"), "wait" if counts["warnings"] else ""), ", ",
        number(counts["notes"], "note"), f" for Consul {ground.features.version_text}",
    )  # fmt: skip


def _as_json(read: Read, findings: Sequence[Finding], services: int, ground: Ground) -> dict[str, Any]:
    return {
        "revision": read.revision or None,
        "consul_version": ground.features.version_text,
        "files": len(read.files),
        "services": services,
        **_counts(findings),
        "findings": [finding_json(each) for each in findings],
        "passed_over": [
            {"path": each.path, "reason": each.reason, "unreadable": each.unreadable} for each in read.passed_over
        ],
    }
