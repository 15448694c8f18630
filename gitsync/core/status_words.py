"""A run in the few words that fit on a commit: its state, and a description of at most 140 characters. Pure.

| what became of it                                                       | state   | description                                  |
|-------------------------------------------------------------------------|---------|----------------------------------------------|
| everything is as the commit wants it                                    | success | 12 applied, 1 pruned                         |
| it changes nothing                                                      | success | nothing to change, 40 services are as wanted |
| a service, a file or the whole commit is refused, or Consul refuses it  | failure | pay failed at defaults: … · 11 applied       |
| deletes wait for a person                                               | failure | 2 deletes wait for an approval (gitsync …)   |
| Consul or Git did not answer, somebody holds a lock, gitsync has a bug  | error   | pay busy at lock · 11 applied                |
| another commit came before its own run                                  | theirs  | applied with 1a2b3c4d5e6f                    |

A delete that waits is a failure for who waits for the commit: not all of it holds, and it will not by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gitsync.core.contract import deviation_words
from gitsync.core.lines import approve_command, report_counts
from gitsync.core.shown import counted, safe
from gitsync.model.finding import Finding, Severity
from gitsync.model.host import DESCRIPTION, CommitState
from gitsync.model.run import Outcome, RunReport, ServiceOutcome

TROUBLE = frozenset({1, 6})
"""The exit codes of what the commit cannot help: a bug, and no answer."""

STOPPED_IN_THE_MIDDLE = "stopped in the middle"
FINE = (("applied", "applied"), ("pruned", "pruned"))
_HARMLESS = str.maketrans({"@": "(at)", "<": "‹", ">": "›", "`": "'", "{": "(", "}": ")"})


@dataclass(frozen=True, slots=True)
class Words:
    """What is said of a commit."""

    state: CommitState
    description: str


def neutral(text: str, length: int = DESCRIPTION) -> str:
    """*text* on one line, without what a host could take for a mention, markup or a placeholder, cut to *length*."""
    return safe(" ".join(text.split()).translate(_HARMLESS), length)


def running() -> Words:
    """A run has begun."""
    return Words(CommitState.RUNNING, "being applied")


def queued() -> Words:
    """The host told of it, and a run will look at it."""
    return Words(CommitState.PENDING, "waiting for its run")


def words(report: RunReport) -> Words:
    """What *report* means for its commit."""
    bad = [each for each in report.services if each.outcome in _BAD and each.outcome is not Outcome.HELD]
    errors = [each for each in report.findings if each.severity is Severity.ERROR]
    files = list(dict.fromkeys(_file(each) for each in errors))
    counts = report_counts(report)
    parts = [*([_first(bad)] if bad else []), *_files(files), *_held(report), *_rest(counts, bad)]
    if report.error:
        parts.insert(0, report.error)
    if deviating := deviation_words(finding for each in report.services for finding in each.findings):
        parts.append(deviating)
    if not parts:
        parts = [_nothing(counts)]
    # Why the run ended, or why the commit was not taken, leaves the services less room.
    described = _joined([neutral(part, 400) for part in parts]) if report.error else _fitted(parts, bad)
    return Words(_state(report, bad, counts, errors=bool(errors)), described)


def trouble(error: str) -> Words:
    """gitsync could not even look."""
    return Words(CommitState.ERROR, neutral(error))


def overtaken(by: Words, sha: str) -> Words:
    """What is said of a commit that *sha*, of which *by* is said, contains."""
    how = {CommitState.SUCCESS: "applied with", CommitState.ERROR: "in trouble with"}.get(by.state, "failed with")
    return Words(by.state, neutral(f"{how} {sha[:12]}: {by.description}"))


def abandoned(sha: str) -> Words:
    """What is said of a commit that *sha* took the place of without containing it."""
    return Words(CommitState.CANCELED, neutral(f"never applied: {sha[:12]} took its place and does not contain it"))


def replaces(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """Whether one status stands in for another on the same commit.

    The link alone is no reason: what was said was said of that run. A commit that succeeded stays so, unless a service of it
    was refused later: that Consul is away for a moment, or that something was put back, is not about the commit.
    """
    if (new["state"], new["description"]) == (old["state"], old["description"]):
        return False
    states = {CommitState.SUCCESS: (CommitState.FAILURE,), CommitState.CANCELED: _FINAL}
    if not is_final(new["state"]):
        return (new["state"], old["state"]) == (CommitState.RUNNING, CommitState.PENDING)
    return new["state"] in states.get(old["state"], tuple(CommitState))


def replaces_plan(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    """As `replaces`, of a plan. That it is being made is said where nothing was: else a plan that fails all the time says two things
    in turn, until the host takes no more of that commit."""
    return is_final(new["state"]) and new != old


def is_final(state: str) -> bool:
    return state not in (CommitState.PENDING, CommitState.RUNNING)


_FINAL = (CommitState.SUCCESS, CommitState.FAILURE, CommitState.ERROR)
_BAD = frozenset({Outcome.REFUSED, Outcome.CONFLICT, Outcome.BUSY, Outcome.FAILED, Outcome.HELD})


def _state(report: RunReport, bad: Sequence[ServiceOutcome], counts: Mapping[str, int], *, errors: bool) -> CommitState:
    ours = [each for each in bad if each.outcome is Outcome.BUSY or each.retryable]
    theirs = len(bad) > len(ours) or errors or report.holds or counts.get("held")
    unnamed = (
        any(counts.get(str(outcome)) for outcome in (Outcome.REFUSED, Outcome.CONFLICT, Outcome.FAILED)) and not bad
    )
    if report.error and not theirs:
        stopped = STOPPED_IN_THE_MIDDLE in report.error
        return CommitState.ERROR if stopped or report.error_exit in TROUBLE or ours else CommitState.FAILURE
    if theirs or unnamed:
        return CommitState.FAILURE
    return CommitState.ERROR if ours else CommitState.SUCCESS


def _first(bad: Sequence[ServiceOutcome]) -> str:
    """The services that stopped, where there is room for them; `_fitted` takes names off."""
    return ", ".join(_stopped(each) for each in bad)


def _stopped(each: ServiceOutcome) -> str:
    step = f" at {each.step}" if each.step else ""
    how = {Outcome.CONFLICT: "in conflict"}.get(each.outcome, str(each.outcome))
    return f"{each.key} {how}{step}"


def _why(each: ServiceOutcome) -> str:
    errors = [finding.message for finding in each.findings if finding.severity is Severity.ERROR]
    return each.message or (errors[0] if errors else "")


def _file(finding: Finding) -> str:
    return f"{finding.place.path} is refused" if finding.place else finding.message


def _files(files: Sequence[str]) -> list[str]:
    if not files:
        return []
    more = f" and {len(files) - 1} more" if len(files) > 1 else ""
    return [files[0] + more]


def _held(report: RunReport) -> list[str]:
    if not report.holds:
        return []
    number = sum(len(hold.services) for hold in report.holds)
    deletes = f"{number} deletes wait" if number != 1 else "1 delete waits"
    return [f"{deletes} for an approval ({approve_command(report.holds[0])})"]


def _rest(counts: Mapping[str, int], bad: Sequence[ServiceOutcome]) -> list[str]:
    fine = counted(counts, FINE)
    unnamed = [] if bad else [counted(counts, [(each, each) for each in ("refused", "conflict", "failed", "busy")])]
    return [each for each in (*unnamed, fine) if each]


def _nothing(counts: Mapping[str, int]) -> str:
    number = counts.get("unchanged", 0)
    return f"nothing to change, {number} services are as wanted" if number > 1 else "nothing to change"


def _fitted(parts: Sequence[str], bad: Sequence[ServiceOutcome]) -> str:
    """The parts on one line: with the reason where one service failed, with fewer names where many did."""
    clean = [neutral(part, 400) for part in parts]
    if not bad:
        return _joined(clean)
    rest = clean[1:]
    if len(bad) == 1 and (why := _why(bad[0])):
        room = DESCRIPTION - len(_joined([clean[0], *rest], 1000)) - len(": ")
        if room >= 20:
            return _joined([f"{clean[0]}: {neutral(why, room)}", *rest])
    for shown in range(len(bad), 0, -1):
        names = neutral(_first(bad[:shown]), 400)
        more = f" and {len(bad) - shown} more" if shown < len(bad) else ""
        if shown == 1 or len(_joined([names + more, *rest], 1000)) <= DESCRIPTION:
            return _joined([names + more, *rest])
    return _joined(clean)


def _joined(parts: Sequence[str], length: int = DESCRIPTION) -> str:
    """`a · b`; where it is too long, the longest part is the one that is cut."""
    over = len(" · ".join(parts)) - length
    if over > 0:
        longest = max(range(len(parts)), key=lambda at: len(parts[at]))
        parts = [safe(part, max(len(part) - over, 20)) if at == longest else part for at, part in enumerate(parts)]
    return safe(" · ".join(parts), length)
