"""What a server can do, from what it says of itself."""

import pytest

from gnn_service.core.errors import DatabaseRefusedError
from gnn_service.db.capability import Capability, ServerKind


def test_plain_postgresql_has_nothing_of_timescale():
    capability = Capability.of(180006, None, None)
    assert capability == Capability(ServerKind.PLAIN, (18, 6))
    assert (capability.has_timescale, capability.has_policies, capability.has_columnstore) == (False, False, False)
    assert str(capability) == "PostgreSQL 18.6"


def test_the_apache_licence_has_hypertables_and_no_policies():
    capability = Capability.of(150020, "2.28.3", "apache")
    assert capability.kind is ServerKind.TIMESCALE_APACHE
    assert (capability.has_timescale, capability.has_policies, capability.has_columnstore) == (True, False, False)
    assert str(capability) == "PostgreSQL 15.20 with TimescaleDB 2.28.3 (Apache licence)"


@pytest.mark.parametrize(
    "version, columnstore", [("2.29.2", True), ("2.23.0-dev", True), ("2.18.0", True), ("2.17.2", False)]
)
def test_the_timescale_licence_has_policies_and_from_2_18_the_columnstore(version: str, columnstore: bool):
    capability = Capability.of(180006, version, "timescale")
    assert capability.kind is ServerKind.TIMESCALE_FULL
    assert capability.has_policies
    assert capability.has_columnstore is columnstore


def test_an_unknown_licence_is_taken_for_the_smaller_one():
    assert Capability.of(180006, "2.29.2", None).kind is ServerKind.TIMESCALE_APACHE


def test_a_server_that_is_too_old_is_refused():
    with pytest.raises(DatabaseRefusedError, match="PostgreSQL 14; this service needs 15"):
        Capability.of(140011, None, None)
