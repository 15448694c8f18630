"""A daemon that is killed, and a Consul that is away: what was said at the Git host of a commit comes to its end all the same."""

from __future__ import annotations

from tests.e2e.hosting import started
from tests.servers.host_api import Reply
from tests.workbench import external


def test_killed_between_applying_and_telling_it_tells_after_its_restart(hosting):
    site = started(hosting, empty=True)
    site.forge.refusing = Reply(hang=True)
    sha = site.pushed(pay=external("pay"))
    site.logged(action="run", outcome="applied", revision=sha)
    site.until(lambda: site.forge.api.sent("POST", rf".*/statuses/{sha}"), "the status on its way")

    site.kill()
    site.forge.refusing = None
    site.start()

    said = site.status(sha, "success")
    assert said["description"] == "1 applied"
    assert site.states(sha).count("success") == 1
    assert site.get(said["target_url"])[0] == 200


def test_killed_while_it_waits_for_git_it_finishes_what_the_webhook_told_of_after_its_restart(hosting):
    site = started(hosting, empty=True)
    site.bench.commit(pay=external("pay"))
    sha = site.forge.push(to="refs/heads/elsewhere")
    site.told(site.forge.pushed(sha))
    site.status(sha, "pending")

    site.kill()
    site.forge.push()
    site.start()

    assert site.status(sha, "success")["description"] == "1 applied"


def test_consul_that_is_away_leaves_a_word_on_the_commit_until_it_is_back(hosting, consul):
    site = started(hosting, empty=True)
    site.bench.commit(pay=external("pay"))
    consul.stop()
    try:
        sha = site.push()
        said = site.status(sha, "error")
    finally:
        consul.start()
    site.told(site.forge.pushed(sha, before=sha))  # it would look again by itself, later

    assert "Consul" in said["description"]
    assert site.status(sha, "success")["description"] == "1 applied"
