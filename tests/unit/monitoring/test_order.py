"""Which ticks wait, and in which rounds blocks may be written."""

import numpy as np
import pytest

from gnn_service.db.spool import SpoolRecord
from gnn_service.monitoring.order import SpooledTicks, coalesced, in_rounds, joined
from gnn_service.monitoring.pieces import FRAMES, pack
from tests.support.flaky_store import block


def test_ticks_inside_the_stretch_that_waits_overlap_and_those_beside_it_do_not():
    ticks = SpooledTicks()
    ticks.add([block([10, 20], 1.0)])
    assert ticks.overlap([block([15], 2.0)])
    assert ticks.overlap([block([5, 30], 2.0)])
    assert ticks.overlap([block([20], 2.0)])
    assert not ticks.overlap([block([21], 2.0)])
    assert not ticks.overlap([block([9], 2.0)])
    assert not ticks.overlap([block([15], 2.0, machine=2)])
    assert not ticks.overlap([block([15], 2.0, group=2)])
    assert not ticks.overlap([block([], 2.0)])


def test_a_stretch_ends_when_its_last_record_is_drained():
    ticks = SpooledTicks()
    for sequence, tick in enumerate([10, 20]):
        ticks.add([block([tick], 1.0)])
        ticks.written([block([tick], 1.0)], sequence)
    ticks.drained(1)
    assert ticks.overlap([block([10], 2.0)])
    ticks.drained(2)
    assert not ticks.overlap([block([10], 2.0)])


def test_while_a_sequence_number_is_not_known_the_stretch_stays():
    ticks = SpooledTicks()
    ticks.add([block([10], 1.0)])
    ticks.drained(1000)
    assert ticks.overlap([block([10], 2.0)])
    ticks.clear()
    assert len(ticks) == 0


def records(*pieces, first=5):
    return [SpoolRecord(first + n, *pack(piece), 0) for n, piece in enumerate(pieces)]


def test_until_all_that_waits_is_known_anything_may_wait():
    ticks = SpooledTicks(complete=False)
    assert ticks.overlap([block([1], 1.0)])
    assert not ticks.overlap([])
    ticks.take(ticks.digest(records(block([10], 1.0))))
    assert ticks.overlap([block([1], 1.0)])
    ticks.finish()
    assert not ticks.overlap([block([1], 1.0)])
    assert ticks.overlap([block([10], 1.0)])


def test_an_empty_spool_is_known_without_looking_through_it():
    ticks = SpooledTicks(complete=False)
    ticks.clear()
    assert ticks.complete


def test_what_the_spool_holds_from_before_is_taken_in():
    ticks = SpooledTicks()
    damaged = SpoolRecord(9, FRAMES, b"damaged", 0)
    ticks.take(ticks.digest([*records(block([20], 1.0), block([10], 1.0), block([], 1.0)), damaged]))
    assert ticks.overlap([block([15], 2.0)])
    ticks.drained(6)
    assert ticks.overlap([block([15], 2.0)])
    ticks.drained(7)
    assert len(ticks) == 0


def test_what_was_drained_while_it_was_looked_through_is_not_taken_in():
    ticks = SpooledTicks(complete=False)
    digest = ticks.digest(records(block([10], 1.0), block([1], 1.0, machine=2)))
    ticks.drained(6)
    ticks.take(digest)
    ticks.finish()
    assert not ticks.overlap([block([10], 2.0)])
    assert ticks.overlap([block([1], 2.0, machine=2)])


def test_what_came_since_keeps_its_number_when_older_records_are_taken_in():
    ticks = SpooledTicks(complete=False)
    digest = ticks.digest(records(block([10], 1.0), block([10], 1.0, machine=2)))
    ticks.add([block([30], 2.0), block([30], 2.0, machine=2)])
    ticks.written([block([30], 2.0)], 8)
    ticks.take(digest)
    ticks.finish()
    ticks.drained(8)
    assert ticks.overlap([block([20], 3.0)])
    ticks.drained(9)
    assert not ticks.overlap([block([20], 3.0)])
    assert ticks.overlap([block([20], 3.0, machine=2)])  # its number is not known yet


def test_blocks_with_a_common_tick_are_never_in_one_round_and_keep_their_order():
    blocks = [
        block([1, 9], 1.0),
        block([2], 2.0),
        block([10], 3.0),
        block([2], 4.0),
        block([2], 5.0, machine=2),
        block([], 0),
    ]
    assert in_rounds(blocks) == [[0, 2, 4], [1], [3]]


@pytest.mark.parametrize("seed", range(20))
def test_rounds_and_joining_give_what_writing_one_after_another_gives(seed):
    chance = np.random.default_rng(seed)
    blocks = []
    for number in range(12):
        start, length = chance.integers(0, 20), chance.integers(1, 6)
        made = block(
            range(start, start + length),
            float(number),
            machine=int(chance.integers(1, 3)),
            layout=int(chance.integers(1, 3)),
        )
        made.values[chance.random(length) < 0.3] = np.nan
        blocks.append(made)

    def written(order):
        table: dict[tuple[int, int], np.ndarray] = {}
        for one in order:
            for time, values in zip(one.times, one.values, strict=True):
                key = (one.machine_id, int(time))
                old = table.get(key, np.full(2, np.nan, np.float32))
                table[key] = np.where(np.isnan(values), old, values)
        return {key: values.tolist() for key, values in table.items()}

    def shuffled(rounds, among):
        return [among[place] for places in rounds for place in chance.permutation(places)]

    wanted = written(blocks)
    np.testing.assert_equal(written(shuffled(in_rounds(blocks), blocks)), wanted)
    made_one = coalesced(blocks)
    assert len(made_one) < len(blocks)
    np.testing.assert_equal(written(shuffled(in_rounds(made_one), made_one)), wanted)


def test_joining_with_nothing_is_the_other():
    both = joined([block([], 1.0), block([3], 2.0)])
    assert both.times.tolist() == block([3], 2.0).times.tolist()
