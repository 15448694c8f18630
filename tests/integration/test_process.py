"""Programs are bounded, and nothing of them stays behind."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import pytest

from gitsync.repository.process import STDERR_CAP, Ending, Limits, run
from tests.servers import wait_for

USUAL = Limits(20)
ENV = {"PATH": os.environ["PATH"]}


def exists(pid: int) -> bool:
    """Whether there is a process of that number, if only a dead one that nobody reaped."""
    return Path(f"/proc/{pid}").exists()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def shell(text: str, *, limits: Limits = USUAL, **given):
    return await run(["sh", "-c", text], env=ENV, limits=limits, **given)


async def test_a_program_gets_its_input_and_exactly_its_environment_and_is_heard():
    ended = await run(
        ["sh", "-c", "cat; env; echo oops >&2; exit 3"], env={**ENV, "A": "b"}, limits=Limits(20), stdin=b"in\x00\n"
    )

    assert (ended.ending, ended.status, ended.stderr) == (Ending.EXITED, 3, "oops\n")
    assert not ended.fine
    assert ended.stdout.startswith(b"in\x00\n")
    assert {line.partition("=")[0] for line in ended.stdout.decode().splitlines()[1:]} <= {
        "PATH",
        "A",
        "PWD",
        "OLDPWD",
        "_",
        "SHLVL",
    }


async def test_large_input_and_output_do_not_wait_for_each_other():
    ended = await run(["cat"], env=ENV, limits=Limits(20), stdin=b"x" * 5_000_000)

    assert ended.fine
    assert len(ended.stdout) == 5_000_000


async def test_input_needs_no_folder_for_temporary_files(monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", "/nonexistent")

    assert (await shell("cat", stdin=b"x" * 100_000)).stdout == b"x" * 100_000


async def test_a_program_that_is_not_there_is_127():
    assert (await run(["no-such-program"], env=ENV, limits=Limits(20))).status == 127


async def test_time_out_ends_the_whole_group(tmp_path):
    began = time.monotonic()
    ended = await shell(f"sh -c 'echo $$ > {tmp_path}/pid; sleep 1000' & wait", limits=Limits(0.5))

    assert ended.ending is Ending.TIMED_OUT
    assert time.monotonic() - began < 8
    wait_for(lambda: not alive(int((tmp_path / "pid").read_text())), "its end")


async def test_what_outlives_its_parent_is_ended_and_not_waited_for(tmp_path):
    began = time.monotonic()
    ended = await shell(f"sleep 1000 & echo $! > {tmp_path}/pid; echo done")

    assert (ended.fine, ended.stdout) == (True, b"done\n")
    assert time.monotonic() - began < 8
    wait_for(lambda: not alive(int((tmp_path / "pid").read_text())), "its end")


async def test_more_output_than_allowed_ends_it():
    ended = await shell("yes", limits=Limits(20, output=100_000))

    assert ended.ending is Ending.TOO_MUCH
    assert len(ended.stdout) <= 100_000


async def test_a_flood_of_errors_is_cut_and_blocks_nothing():
    ended = await shell("yes | head -c 3000000 >&2; echo done")

    assert ended.stdout == b"done\n"
    assert len(ended.stderr) == STDERR_CAP


async def test_files_and_memory_are_bounded_for_children_too(tmp_path):
    ended = await shell(
        f"sh -c 'head -c 200000 /dev/zero > {tmp_path}/file'; ulimit -v",
        limits=Limits(20, file_size=102_400, memory=2**30),
    )

    assert (tmp_path / "file").stat().st_size == 102_400
    assert ended.stdout.strip() == str(2**20).encode()


async def test_a_cancelled_run_leaves_nothing(tmp_path):
    seen: list[int] = []
    task = asyncio.create_task(shell("sleep 1000", started=seen.append))
    while not seen:  # noqa: ASYNC110 -- there is no event to wait for
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not exists(seen[0])


async def test_many_at_once_are_all_reaped():
    ended = await asyncio.gather(*(shell(f"echo {number}") for number in range(30)))

    assert [each.stdout for each in ended] == [b"%d\n" % number for number in range(30)]
