"""What a commit at a Git host is told: of what is as wanted, refused, held or rewritten, in words that fit there."""

from __future__ import annotations

from tests.e2e.hosting import Hosting
from tests.workbench import external


def test_a_commit_that_changes_nothing_says_so(hosting):
    site: Hosting = hosting()
    site.bench.commit(pay=external("pay"))
    first = site.forge.push()
    site.start()
    site.status(first, "success")

    site.bench.write("README.md", "other words\n")
    said = site.status(site.pushed(), "success")

    assert said["description"] == "nothing to change"


def test_a_commit_without_the_folder_says_so(hosting):
    site: Hosting = hosting()
    site.bench.remove("services/README.md")
    site.bench.commit("no services")
    without = site.forge.push()
    site.start()

    said = site.status(without, "failure")
    site.status(site.pushed(pay=external("pay")), "success")

    assert "has no services at" in said["description"]
    assert site.get(said["target_url"])[0] == 200
    assert site.states(without)[-1] == "failure"  # what came later is another commit


def test_a_commit_is_refused_as_a_whole_where_the_sync_is_strict(hosting):
    site: Hosting = hosting(sync={"strict": True})
    first = site.forge.push()
    site.start()
    site.status(first, "success")

    bad = site.pushed(pay=external("pay"), bad="name: bad\nrouting: {}\n")
    said = site.status(bad, "failure")
    again = len(site.lines(action="run", revision=bad))
    site.told(site.forge.pushed(bad, before=bad))
    site.until(lambda: len(site.lines(action="run", revision=bad)) > again, "the next look")

    assert said["description"].startswith("plan: strict: the commit")
    assert site.get(said["target_url"])[0] == 200
    assert site.states(bad).count("failure") == 1
    assert not site.has("pay")


def test_a_file_that_cannot_be_used_is_named_and_the_others_are_applied(hosting):
    site: Hosting = hosting()
    first = site.forge.push()
    site.start()
    site.status(first, "success")

    bad = site.pushed(pay=external("pay"), bad="name: [\n")
    said = site.status(bad, "failure")
    mended = site.pushed(bad=external("bad", "192.0.2.12"))
    mend = site.status(mended, "success")

    assert said["description"] == "bad.yaml is refused · 1 applied"
    assert site.has("pay")
    assert mend["description"] == "1 applied"
    assert site.states(bad)[-1] == "failure"


def test_deletes_that_are_held_are_a_failure_with_the_command_that_approves_them(hosting):
    site: Hosting = hosting(sync={"prune": {"max_count": 0}})
    site.bench.commit(pay=external("pay"), shop=external("shop", "192.0.2.11"))
    first = site.forge.push()
    site.start()
    site.status(first, "success")

    site.bench.remove("services/shop.yaml")
    said = site.status(site.pushed(), "failure")

    assert said["description"].startswith("1 delete waits for an approval (gitsync approve ")
    assert site.has("shop")


def test_a_rewritten_history_is_refused_and_its_head_says_so(hosting):
    site: Hosting = hosting()
    site.bench.commit(pay=external("pay"))
    old = site.forge.push()
    site.start()
    site.status(old, "success")

    site.bench.git("reset", "-q", "--hard", "HEAD~1")
    rewritten = site.pushed(shop=external("shop", "192.0.2.11"))
    said = site.status(rewritten, "failure")

    assert "history was rewritten" in said["description"]
    assert site.get(said["target_url"])[0] == 200
    assert not site.has("shop")
    assert site.has("pay")
    assert site.states(old)[-1] == "success"


def test_a_commit_that_is_not_signed_by_who_counts_is_refused_and_says_so(hosting):
    site: Hosting = hosting()
    signers = site.folder / "signers"
    signers.write_text("")
    site.settings["syncs"]["payments"]["signatures"] = {"mode": "head", "allowed_signers_file": str(signers)}
    site.bench.commit(pay=external("pay"))
    sha = site.forge.push()
    site.start()

    said = site.status(sha, "failure")

    assert "sign" in said["description"]
    assert site.get(said["target_url"])[0] == 200
    assert not site.has("pay")
