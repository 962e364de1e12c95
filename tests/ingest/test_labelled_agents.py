"""Agents that other projects have labelled: bots are machines, people are people, clients named."""

import pytest

from tests.support.labelled_agents import (
    FOLDER,
    accused_people,
    missed_bots,
    unnamed_clients,
)

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="no labelled agents beside this folder")


def test_bots_are_machines_on_a_click() -> None:
    missed = missed_bots()
    assert missed.total > 1_000 and missed.share <= 0.01, missed.wrong


def test_people_who_navigate_are_no_machines() -> None:
    accused = accused_people("navigate")
    assert accused.total > 10_000 and accused.share <= 0.001, accused.wrong


def test_hardly_anybody_is_a_machine_without_metadata() -> None:
    """Most of these are programs of phones of 2004 or names of devices alone."""
    accused = accused_people("")
    assert accused.share <= 0.01, accused.wrong


def test_mail_clients_are_named() -> None:
    unnamed = unnamed_clients()
    assert unnamed.total > 20 and unnamed.share <= 0.05, unnamed.wrong
