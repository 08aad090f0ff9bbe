"""What each kind of error means: its name, whether the work may be repeated, whether it speaks against the server."""

import ssl

import asyncpg
import pytest

from gnn_service.core.errors import (
    ConflictError,
    DatabaseRefusedError,
    DatabaseUnavailableError,
    PoolTimeoutError,
    QueryTimeoutError,
)
from gnn_service.db.failures import Repeat, of_connecting, of_work


def said(state: str) -> asyncpg.PostgresError:
    """What the driver makes of a message of the server with this SQLSTATE."""
    return asyncpg.PostgresError.new({"S": "ERROR", "C": state, "M": "the server's words"})


@pytest.mark.parametrize("state", ["08000", "08003", "08006", "57P01", "57P02", "57P05", "25P03"])
def test_a_connection_that_broke_may_have_done_the_work(state: str):
    failure = of_work(said(state), lost=True)
    assert isinstance(failure.error, DatabaseUnavailableError)
    assert (failure.repeat, failure.outage) == (Repeat.IF_IDEMPOTENT, True)


@pytest.mark.parametrize("state", ["57P03", "53300"])
def test_a_server_that_takes_nobody_now_has_done_nothing(state: str):
    for failure in (of_connecting(said(state)), of_work(said(state), lost=True)):
        assert isinstance(failure.error, DatabaseUnavailableError)
        assert (failure.repeat, failure.outage) == (Repeat.ALWAYS, True)


@pytest.mark.parametrize("state", ["40001", "40P01"])
def test_what_gave_way_to_others_was_rolled_back(state: str):
    failure = of_work(said(state), lost=False)
    assert (failure.repeat, failure.outage) == (Repeat.IF_TRANSACTION, False)


@pytest.mark.parametrize("state", ["53100", "53200", "58030", "25006"])
def test_a_server_without_means_is_away_and_not_pressed(state: str):
    failure = of_work(said(state), lost=False)
    assert isinstance(failure.error, DatabaseUnavailableError)
    assert (failure.repeat, failure.outage) == (Repeat.NEVER, True)


@pytest.mark.parametrize("state", ["57014", "55P03"])
def test_what_took_too_long_is_not_repeated_and_nobodys_outage(state: str):
    failure = of_work(said(state), lost=False)
    assert isinstance(failure.error, QueryTimeoutError)
    assert (failure.repeat, failure.outage) == (Repeat.NEVER, False)


@pytest.mark.parametrize("state", ["23505", "23503", "23P01"])
def test_a_violated_constraint_is_a_conflict(state: str):
    failure = of_work(said(state), lost=False)
    assert isinstance(failure.error, ConflictError)
    assert failure.repeat is Repeat.NEVER


@pytest.mark.parametrize("state", ["42P01", "42703", "3F000", "42501"])
def test_missing_tables_and_rights_name_the_command_that_makes_them(state: str):
    failure = of_work(said(state), lost=False)
    assert isinstance(failure.error, DatabaseRefusedError)
    assert "gnn-service db migrate" in failure.error.detail


@pytest.mark.parametrize("state", ["22003", "22P02", "23502", "23514", "42601", "XX000"])
def test_a_mistake_of_ours_passes_as_it_is(state: str):
    assert of_work(said(state), lost=False) is None


@pytest.mark.parametrize("state", ["28P01", "28000", "3D000", "42501", "08P01"])
def test_a_server_that_refuses_is_not_asked_again(state: str):
    failure = of_connecting(said(state))
    assert isinstance(failure.error, DatabaseRefusedError)
    assert failure.repeat is Repeat.NEVER


@pytest.mark.parametrize("error", [ConnectionRefusedError(111, "Connection refused"), TimeoutError(), OSError("odd")])
def test_a_server_that_cannot_be_reached_has_done_nothing(error: Exception):
    failure = of_connecting(error)
    assert isinstance(failure.error, DatabaseUnavailableError)
    assert (failure.repeat, failure.outage) == (Repeat.ALWAYS, True)


def test_a_busy_pool_speaks_not_against_the_server():
    failure = of_connecting(PoolTimeoutError("all in use"))
    assert (failure.repeat, failure.outage) == (Repeat.ALWAYS, False)


@pytest.mark.parametrize("error", [asyncpg.InterfaceError("connection is closed"), ConnectionResetError()])
def test_an_error_without_a_state_counts_only_on_a_lost_connection(error: Exception):
    assert of_work(error, lost=True).repeat is Repeat.IF_IDEMPOTENT
    assert of_work(error, lost=False) is None


def test_a_timeout_speaks_against_the_server_only_if_it_did_not_stop_the_work_either():
    assert not of_work(TimeoutError(), lost=False).outage
    assert of_work(TimeoutError(), lost=False, silent=True).outage


@pytest.mark.parametrize(
    "repeat, idempotent, transaction, allowed",
    [
        (Repeat.NEVER, True, True, False),
        (Repeat.IF_IDEMPOTENT, True, False, True),
        (Repeat.IF_IDEMPOTENT, False, True, False),
        (Repeat.IF_TRANSACTION, False, True, True),
        (Repeat.IF_TRANSACTION, True, False, True),
        (Repeat.IF_TRANSACTION, False, False, False),
        (Repeat.ALWAYS, False, False, True),
    ],
)
def test_work_is_repeated_only_where_that_is_safe(repeat: Repeat, idempotent: bool, transaction: bool, allowed: bool):
    assert repeat.allows(idempotent=idempotent, transaction=transaction) is allowed


def test_an_error_of_the_system_is_told_in_its_words():
    failure = of_connecting(ConnectionRefusedError(111, "Connection refused"))
    assert failure.error.detail == "the database cannot be reached: Connection refused"


def test_an_error_of_tls_keeps_its_own_words():
    failure = of_connecting(ssl.SSLCertVerificationError(1, "certificate verify failed: self-signed certificate"))
    assert "self-signed certificate" in failure.error.detail
