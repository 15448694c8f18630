"""`gitsync ci`: what merging the checked-out change would do, for the pipeline of a Git host."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import typer

from gitsync import wire
from gitsync.cli.call import carry_out, settings_of
from gitsync.cli.checking import NEWEST, Ground, below, ground_of, judge, settings_if_any
from gitsync.cli.choice import the_one
from gitsync.cli.options import Config, Debug, Json, OneSync
from gitsync.cli.pipeline import Pipeline, not_by_a_link, quality_report, straight, write_text
from gitsync.cli.screen import Screen, visible
from gitsync.cli.telling import code_of, shortened
from gitsync.cli.watching import Watching
from gitsync.core.blast import links_to
from gitsync.core.describe import plan_lines
from gitsync.core.markdown import inert
from gitsync.core.review_markdown import discreet, review_as_json, review_as_markdown, review_words
from gitsync.core.sight import Sight
from gitsync.engine.memory import Memory
from gitsync.engine.review import Request, review
from gitsync.model.desired import ParsedFile
from gitsync.model.errors import GitsyncError, Invalid
from gitsync.model.finding import Finding, Severity, worst
from gitsync.model.host import ChangeRequest
from gitsync.model.key import Owner, ServiceKey
from gitsync.model.plan import Plan, Verdict
from gitsync.model.review import Merged, Review, ReviewVerdict
from gitsync.model.revision import NO_REVISION, Revision, parse_path
from gitsync.model.spec import SpecDefaults
from gitsync.model.sync import Options
from gitsync.repository import Checkout, CommitSpecs, DirectorySpecs
from gitsync.settings import Settings, SyncSettings
from gitsync.settings.layers import CONFIG_VARIABLE
from gitsync.settings.reading import DEFAULT_FILE

LIMIT = 60_000
"""Characters of a comment: what every host takes but Bitbucket, which takes half."""

HERE = "checked out"


def ci(
    checkout: Annotated[
        Path, typer.Argument(metavar="[CHECKOUT]", help="The top of the checked-out repository.", show_default=False)
    ] = Path(),
    *,
    base: Annotated[
        str,
        typer.Option(
            "--base",
            metavar="REF",
            help="Say only what the change brings since it left this branch or commit; HEAD^1 where a merge is checked out.",
            show_default=False,
        ),
    ] = "",
    path: Annotated[
        str,
        typer.Option(
            "--path",
            metavar="DIR",
            help="The folder of the checkout that holds the specs. Default: git.path of the sync.",
            show_default=False,
        ),
    ] = "",
    offline: Annotated[
        bool, typer.Option("--offline", help="Only judge the files, as `validate` does: no Consul, no token.")
    ] = False,
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", metavar="FILE", help="Write the plan as a comment's Markdown.", show_default=False),
    ] = None,
    codequality: Annotated[
        Path | None,
        typer.Option(
            "--codequality",
            metavar="FILE",
            help="Write the findings as GitLab's Code Quality report.",
            show_default=False,
        ),
    ] = None,
    sync: OneSync = None,
    consul_version: Annotated[
        str,
        typer.Option(
            "--consul-version",
            metavar="VERSION",
            help=f"With --offline: the version to judge for. Default: consul.version, else {NEWEST}.",
            show_default=False,
        ),
    ] = "",
    config: Config = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Plan the change that is checked out here, in the pipeline of a Git host. Nothing is written to Consul.

    The same plan as that of a webhook: what merging the change would do, with the findings at the lines at fault. On GitHub
    Actions they become annotations, and the plan goes onto the page of the run. A token that may only read is enough.

    Examples:

      gitsync ci --base HEAD^1 --markdown plan.md
      gitsync ci --offline --path services --base origin/main
      gitsync ci --base origin/main --codequality gl-code-quality-report.json

    Exit code 0 if nothing would change, 2 if something would, 3 if something would be refused, 4 if it would be held or is in
    conflict, 5 or 6 if Consul refuses or does not answer.
    """

    pipeline = Pipeline(os.environ, Screen(as_json=as_json))
    findings: list[Finding] = []

    async def work(screen: Screen) -> int:
        try:
            asked = _asked(checkout, base, path)
            _not_of_the_change(config, checkout, offline=offline)
            settings = settings_if_any(config, screen) if offline else settings_of(config, screen.warn)
            if offline:
                judged = await _validated(asked, settings, sync, ground_of(settings, consul_version))
            else:
                assert settings is not None
                judged = await _planned(asked, settings, sync, screen)
            found = _findings(judged)
            text = _markdown(judged)
            if markdown:
                write_text(markdown, text, "--markdown", checkout)
            if codequality:
                write_text(codequality, quality_report(found), "--codequality", checkout)
            _tell(screen, judged, found)
            screen.document({"review": review_as_json(judged.review, redact=judged.redact), "exit_code": _code(judged)})
        except GitsyncError as error:
            pipeline.failed(error)
            failure = f"### gitsync could not plan this\n\n{inert(str(error))}\n"
            pipeline.summarize(failure)
            if markdown:
                write_text(markdown, failure, "--markdown", checkout)
            raise
        findings.extend(found)
        pipeline.summarize(text)
        return _code(judged)

    try:
        with pipeline.unheard():
            carry_out(work, as_json=as_json, debug=debug)
    finally:
        pipeline.annotate(findings)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is checked out. base: the commit that it is compared with, "" for none. path: "" where nobody named one."""

    folder: Path
    base: str
    path: str


@dataclass(frozen=True, slots=True)
class Judged:
    """What became of it. root: the folder of the specs in the repository. places: where the services' documents stand."""

    review: Review
    root: str
    redact: frozenset[str] = frozenset()
    files: Sequence[ParsedFile] = field(default_factory=tuple)


def _asked(checkout: Path, base: str, path: str) -> Asked:
    if not checkout.is_dir():
        raise Invalid(f"{checkout} is no folder. Name the top of the checked-out repository.")
    return Asked(checkout, base, parse_path(path))


def _not_of_the_change(config: Path | None, checkout: Path, *, offline: bool) -> None:
    """Raise Invalid for a configuration that the change itself could have brought; offline only if it is a link to something else."""
    file = config or Path(os.environ.get(CONFIG_VARIABLE) or DEFAULT_FILE)
    not_by_a_link(file, checkout, f"the configuration {file}")
    if not offline and file.exists() and file.resolve().is_relative_to(checkout.resolve()):
        raise Invalid(
            f"the configuration {file} is in the checkout, so whoever proposes a change decides where the token is sent. Name one "
            "from elsewhere with --config, or say --offline."
        )


class _Proposal:
    """The change as `review` asks for it: what is checked out is the result of the merge."""

    def __init__(self, here: DirectorySpecs, before: CommitSpecs) -> None:
        self._here, self._before = here, before
        self.files: tuple[ParsedFile, ...] = ()

    async def merge(self, number: int, base: str, head: str) -> Merged:  # noqa: ARG002 -- as the Protocol names them
        """Somebody else has merged it, or would merge it as it is."""
        return Merged(HERE)

    async def load_tree(self, revision: Revision, treeish: str) -> tuple[ParsedFile, ...]:
        """The files that are here, or those of the base."""
        if treeish == HERE:
            self.files = await self._here.load(revision, "")
            return self.files
        return await self._before.load(revision, "")


# -- with Consul ----------------------------------------------------------------------------------------------------------


async def _planned(asked: Asked, settings: Settings, name: str | None, screen: Screen) -> Judged:
    sync_name = the_one(name, settings.syncs, "a checkout is of one repository")
    given = settings.syncs[sync_name]
    with _elsewhere(settings) as apart:
        async with wire.opened(apart) as house:
            room = house.room(sync_name)
            root = asked.path or given.git.path
            folder = straight(asked.folder, root, f"the folder {root}")
            here = wire.specs_in(folder, given, house.defaults)
            change, before = await _change(asked, root, given, house.defaults)
            if before is not None:
                proposal = _Proposal(here, before[1])
                request = Request(change, Revision(change.head_sha, "", "", ""), Revision(before[0], "", "", ""))
                seen = await review(room.world, room.sync, proposal, request, Memory(), forks_apart=False)
                files = proposal.files
            else:
                files = await here.load(NO_REVISION, "")
                with Watching(screen, sync_name) as watching:
                    look = await room.plan(Options(trigger="ci"), watching, directory=folder, defaults=house.defaults)
                affected = frozenset(
                    key for key, each in look.plan.services.items() if _is_worth_telling(look.plan, key)
                )
                seen = Review(
                    sync_name,
                    str(room.sync.owner),
                    change,
                    _verdict(look.plan),
                    plan=look.plan,
                    affected=affected,
                    findings=look.plan.findings,
                    links=links_to(Sight(look.found, None), affected),
                    specs=len(look.desires.desired.services),
                )
            return Judged(discreet(seen, room.sync.redact), root, room.sync.redact, files)


@contextmanager
def _elsewhere(settings: Settings) -> Iterator[Settings]:
    """*settings* with a state of their own that is forgotten at the end: a pipeline has no history to keep."""
    with tempfile.TemporaryDirectory(prefix="gitsync-ci-") as folder:
        yield settings.model_copy(update={"state_dir": Path(folder), "store": f"sqlite:///{folder}/gitsync.db"})


def _is_worth_telling(plan: Plan, key: ServiceKey) -> bool:
    service = plan.services[key]
    return service.verdict is not Verdict.UNCHANGED or bool(service.findings)


def _verdict(plan: Plan) -> ReviewVerdict:
    verdicts = {service.verdict for service in plan.services.values()}
    if verdicts & {Verdict.REFUSED, Verdict.CONFLICT} or worst(plan.findings) is Severity.ERROR:
        return ReviewVerdict.REFUSED
    if Verdict.HELD in verdicts:
        return ReviewVerdict.HELD
    return ReviewVerdict.UNAFFECTED if plan.empty and not plan.findings else ReviewVerdict.PLANNED


# -- without --------------------------------------------------------------------------------------------------------------


async def _validated(asked: Asked, settings: Settings | None, name: str | None, ground: Ground) -> Judged:
    given, owner, redact = None, "", frozenset[str]()
    if name and settings is None:
        raise Invalid("--sync needs a configuration, and there is none: name it with --config.")
    if settings is not None:
        sync_name = the_one(name, settings.syncs, "a checkout is of one repository")
        given, owner = settings.syncs[sync_name], str(Owner(settings.instance, sync_name))
        redact = frozenset(given.redact)
    root = asked.path or (given.git.path if given else "")
    folder = straight(asked.folder, root, f"the folder {root}")
    files = await wire.specs_in(folder, given, ground.defaults).load(NO_REVISION, "")
    change, before = await _change(asked, root, given, ground.defaults)
    known: set[tuple[object, ...]] = set()
    others: tuple[ParsedFile, ...] = ()
    if before is not None:
        others = await before[1].load(NO_REVISION, "")
        known = {_essence(each) for each in judge(others, "", ground)[0]}
    found = tuple(each for each in judge(files, "", ground)[0] if _essence(each) not in known)
    changed = sum(len(file.specs) for file in files if file not in others)
    seen = Review(
        owner.rpartition("/")[2] or "these specs",
        owner,
        change,
        ReviewVerdict.REFUSED if worst(found) is Severity.ERROR else ReviewVerdict.VALID,
        base=Revision(before[0], "", "", "") if before else NO_REVISION,
        findings=found,
        specs=changed,
    )
    return Judged(discreet(seen, redact), root, redact, files)


def _essence(finding: Finding) -> tuple[object, ...]:
    """A finding without its line: one that only moved is not a new one."""
    path = finding.place.path if finding.place else ""
    return finding.code, finding.message, finding.service, path, finding.spec_path


# -- both -----------------------------------------------------------------------------------------------------------------


async def _change(
    asked: Asked, root: str, given: SyncSettings | None, defaults: SpecDefaults
) -> tuple[ChangeRequest, tuple[str, CommitSpecs] | None]:
    """The change as a request, and the commit and the specs that it began with."""
    onto = os.environ.get("GITHUB_BASE_REF") or os.environ.get("CI_MERGE_REQUEST_TARGET_BRANCH_NAME")
    head, before = "", None
    if asked.base:
        repository = Checkout(asked.folder)
        head, sha = await repository.head(), await repository.fork_point(asked.base)
        before = sha, repository.specs(sha, root, wire.filter_of(given), wire.parser_of(defaults))
    else:
        with suppress(GitsyncError):  # its name is good to know, and no more
            head = await Checkout(asked.folder).head()
    base_ref = onto or (given.git.ref if given else "") or asked.base or "the base"
    change = ChangeRequest(0, head or HERE, "", base_ref, is_fork=False, head_repo=None, state="open")
    return change, before


def _markdown(judged: Judged) -> str:
    marker = f"<!-- gitsync:ci source={judged.review.owner or 'nobody'} -->"
    return review_as_markdown(judged.review, marker=marker, redact=judged.redact, limit=LIMIT)


def _narrowed(seen: Review) -> Plan | None:
    """The plan, as far as the change brings it."""
    if seen.plan is None:
        return None
    services = {key: service for key, service in seen.plan.services.items() if key in seen.affected}
    holds = tuple(hold for hold in seen.plan.holds if any(key in services for key, _ in hold.services))
    return replace(seen.plan, services=services, findings=seen.findings, holds=holds)


def _findings(judged: Judged) -> list[Finding]:
    """Every finding, each once, with a place where its service has one, and paths from the top of the repository."""
    places = {spec.key: spec.place for file in judged.files for spec in file.specs}
    found = list(judged.review.findings)
    plan = _narrowed(judged.review)
    for key, service in plan.services.items() if plan else ():
        for each in service.findings:
            place = each.place or (places[key].at(each.spec_path) if key in places else None)
            found.append(replace(each, place=place, service=each.service or key))
    return [below(judged.root, each) for each in dict.fromkeys(found)]


def _code(judged: Judged) -> int:
    plan = _narrowed(judged.review)
    if plan is not None:
        return code_of(plan)
    return Invalid.exit_code if judged.review.verdict is ReviewVerdict.REFUSED else 0


def _tell(screen: Screen, judged: Judged, findings: Sequence[Finding]) -> None:
    seen, plan = judged.review, _narrowed(judged.review)
    if plan is not None:
        screen.described(shortened(plan_lines(plan, judged.redact, full=True), "--json lists them all."))
    else:
        for each in findings:
            subject = " ".join(str(part) for part in (each.service, each.spec_path) if part)
            where = f"{each.place}: " if each.place else ""
            screen.line(
                f"{where}{each.severity} {each.code}" + (f" [{subject}]" if subject else "") + f": {each.message}"
            )
            if each.hint:
                screen.line(("    " + each.hint, "quiet"))
    if seen.message:
        screen.line(seen.message)
    for link in seen.links:
        screen.line((f"{visible(str(link.service))}: {link.kind}/{link.name} {link.how}", "quiet"))
    screen.line(review_words(seen, judged.redact))
