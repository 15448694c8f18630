"""What was read is believed again only while its index, its token and its age allow."""

from __future__ import annotations

import pytest

from gitsync.consul.shelf import FRESH_SECONDS, Shelf


class Surroundings:
    now = 0.0
    token = "one"


@pytest.fixture
def around() -> Surroundings:
    return Surroundings()


@pytest.fixture
def shelf(around: Surroundings) -> Shelf:
    return Shelf(lambda: around.now, lambda: around.token)


def test_what_was_kept_is_current_while_the_index_of_its_table_stands(shelf: Shelf):
    shelf.keep("lists", 7, ["entry"])

    assert shelf.worth_asking("nothing", "lists")
    assert shelf.current("lists", 7) == ["entry"]
    assert shelf.current("lists", 8) is None
    assert shelf.current("lists", 6) is None
    assert shelf.current("other", 7) is None


@pytest.mark.parametrize("index", [0, 1])
def test_an_answer_without_an_index_is_never_kept(shelf: Shelf, index: int):
    shelf.keep("lists", 7, ["entry"])
    shelf.keep("lists", index, [])

    assert not shelf.worth_asking("lists")
    assert shelf.current("lists", index) is None


def test_after_a_while_everything_is_read_again(shelf: Shelf, around: Surroundings):
    shelf.keep("lists", 7, ["entry"])
    around.now = FRESH_SECONDS

    assert not shelf.worth_asking("lists")
    assert shelf.current("lists", 7) is None
    assert shelf.last("lists") == ["entry"]


def test_what_one_token_saw_is_nothing_to_another(shelf: Shelf, around: Surroundings):
    shelf.keep("lists", 7, ["entry"])
    around.token = "two"

    assert shelf.current("lists", 7) is None
    assert shelf.last("lists") is None
