"""The prose pages against the product: links, commands, make targets, keys, codes and rules are those that there are."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import typer

from gitsync.cli.app import app
from gitsync.cli.call import BUG, CHANGES, FINE, USAGE
from gitsync.core.codes import CODES
from gitsync.core.load import parse_file
from gitsync.daemon.inbox import Accepted
from gitsync.model import kv
from gitsync.model.errors import Conflict, Invalid, Rejected, Unavailable
from gitsync.model.key import EXTERNAL_SOURCE, MANAGED_BY, OWNER_MARK, RECORD_NAMES, Kind, Owner, ServiceKey
from gitsync.model.run import Outcome, RunOutcome
from gitsync.model.spec import SpecDefaults
from gitsync.model.view import SyncView
from gitsync.settings.keys import Drift
from gitsync.web import health_app
from gitsync.web.hooks import Verdict
from tests.e2e.test_acl import RULES

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
LIFECYCLE = (ROOT / "docs" / "lifecycle.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
COMMANDS = vars(typer.main.get_command(app))["commands"]

each_page = pytest.mark.parametrize("page", PAGES, ids=NAMES)


def code(page: Path) -> Iterator[str]:
    """The lines of code blocks, and what stands between backticks in the prose."""
    fenced = False
    for line in page.read_text().splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line
        else:
            yield from re.findall(r"`([^`]+)`", line)


def headings(page: Path) -> set[str]:
    """The anchors of a page, as Git hosts make them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


# -- what a page points at ------------------------------------------------------------------------------------------------


@each_page
def test_every_relative_link_leads_somewhere(page: Path):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in headings(target)):
            broken.append(link)

    assert broken == []


def test_the_readme_leads_to_every_page_and_the_hosts_page_to_every_host():
    readme, hosts = ((ROOT / name).read_text() for name in ("README.md", "docs/hosts/README.md"))
    of_hosts = [name for name in NAMES if name.startswith("docs/hosts/") and name != "docs/hosts/README.md"]

    assert [name for name in NAMES if name not in ("README.md", *of_hosts) and f"({name})" not in readme] == []
    assert [name for name in of_hosts if f"({name.rpartition('/')[2]})" not in hosts] == []


@each_page
def test_every_make_target_that_is_named_exists(page: Path):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {found for line in code(page) for found in re.findall(r"(?:^|\s)make ([a-z]+)", line)}

    assert named <= targets


@each_page
def test_every_command_that_is_named_exists_with_its_options(page: Path):
    wrong = []
    for line in code(page):
        for found in re.findall(r"(?:^|[\s/(])gitsync ([a-z][a-z-]*)([^|#>`]*)", line):
            name, rest = found
            command = COMMANDS.get(name)
            known = {opt for each in command.params for opt in each.opts} | {"--help"} if command else set()
            wrong += [f"{name} {option}" for option in re.findall(r"(?<!\S)(--[a-z-]+)", rest) if option not in known]
            wrong += [] if command else [name]

    assert wrong == []


def test_every_file_that_the_development_page_names_exists():
    text = (ROOT / "docs" / "development.md").read_text()
    named = set(re.findall(r"`((?:[\w-]+/)*[\w-]+(?:/|\.py))`", text))

    assert named
    assert [name for name in named if not (ROOT / name).exists() and not (ROOT / "gitsync" / name).exists()] == []


# -- what the lifecycle page says -----------------------------------------------------------------------------------------


def test_every_key_that_is_written_has_its_row():
    key, owner = ServiceKey("pay"), Owner("prod", "payments")
    own = re.findall(r'case "(\w+)"', inspect.getsource(kv.parse_owner))
    keys = {
        kv.desired(key), f"{kv.desired(key)}/base.json", kv.observed(key), kv.lock(key), kv.ledger(key), kv.adopted(key),
        kv.holder(owner, "<session>"), *(f"{kv.owner(owner)}{name}" for name in own),
    }  # fmt: skip
    rows = {row.split("`")[1] for row in LIFECYCLE.splitlines() if row.startswith("| `svc-handler/")}
    written = {each.replace(key.path, "<service>").replace(str(owner), "<instance>/<sync>") for each in keys}
    (objects,) = rows - written

    assert len(own) == 4
    assert written <= rows
    assert objects.startswith("svc-handler/desired/<service>/{")
    assert set(objects.partition("{")[2].partition("}")[0].split(",")) == set(RECORD_NAMES.values())


def test_every_outcome_exit_code_and_drift_mode_is_explained():
    codes = {FINE, BUG, CHANGES, USAGE, *(each.exit_code for each in (Invalid, Conflict, Rejected, Unavailable))}
    table = LIFECYCLE.partition("## Outcomes and exit codes")[2].partition("\n## ")[0]

    assert set(map(int, re.findall(r"^\| `(\d+)` \|", table, re.MULTILINE))) == codes
    assert [each for each in (*Outcome, *RunOutcome) if f"`{each}`" not in table] == []
    assert [mode.value for mode in Drift if f"| `{mode.value}` |" not in LIFECYCLE] == []


@pytest.mark.parametrize("name", ["docs/lifecycle.md", "docs/operations.md"])
def test_every_finding_that_is_named_exists(name: str):
    words = {*map(str, Kind), MANAGED_BY, OWNER_MARK, EXTERNAL_SOURCE, "pg_dump", *map(str, Accepted)}
    words |= {each for each in vars(Verdict).values() if isinstance(each, str)}
    named = set(re.findall(r"`([a-z0-9]+(?:-[a-z0-9]+)+)`", (ROOT / name).read_text()))

    assert named - words <= CODES.keys()


# -- what the operations page says ----------------------------------------------------------------------------------------


def rules(text: str) -> set[tuple[str, str, frozenset[tuple[str, str]]]]:
    """ACL rules as (resource, name, what it gives), whatever their order and layout."""
    blocks = re.findall(r'^\s*(\w+)\s+"([^"]*)"\s*\{([^}]*)\}', text, re.MULTILINE)
    plain = re.findall(r'^\s*(\w+)\s*=\s*"(\w+)"', text, re.MULTILINE)
    return {
        *((resource, name, frozenset(re.findall(r'(\w+)\s*=\s*"(\w+)"', body))) for resource, name, body in blocks),
        *((resource, "", frozenset({("policy", value)})) for resource, value in plain),
    }


@pytest.mark.parametrize("gateways", ["mesh", "operator"])
def test_the_rules_for_the_token_are_those_that_the_tests_run_with(gateways: str):
    newer, older = (rules(block) for block in re.findall(r"^```hcl\n(.*?)^```", OPERATIONS, re.MULTILINE | re.DOTALL))
    mesh = {rule for rule in newer if rule[0] == "mesh"}
    told = newer if gateways == "mesh" else newer - mesh | older

    assert told == rules(RULES.format(pay="write", gateways=gateways))


class OneSync:
    """A daemon with one sync, as the health routes see it."""

    def syncs(self) -> dict[str, SyncView]:
        return {"payments": SyncView("payments", 60.0)}


async def test_every_field_of_readyz_is_explained():
    table = OPERATIONS.partition("## Health")[2].partition("\n## ")[0]
    transport = httpx.ASGITransport(app=health_app(OneSync()))
    async with httpx.AsyncClient(transport=transport, base_url="http://gitsync") as client:
        shown = (await client.get("/readyz")).json()

    assert [field for field in (*shown["syncs"]["payments"], "reasons") if f"`{field}`" not in table] == []


# -- what the readme shows ------------------------------------------------------------------------------------------------


def test_the_spec_in_the_readme_is_one():
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    file = parse_file("README.md", block.encode(), SpecDefaults())

    assert file.specs
    assert [str(finding) for finding in file.findings] == []
