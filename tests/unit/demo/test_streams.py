import numpy as np
import pytest

from gnn_service.demo.streams import CycleDraws, Key, Purpose


def draw(key, purpose=Purpose.NOISE, block=0):
    return key.stream(purpose, block).random(4).tolist()


def test_a_key_gives_the_same_numbers_every_time():
    assert draw(Key(1, 2, 3)) == draw(Key(1, 2, 3))


@pytest.mark.parametrize(
    "other",
    [(Key(9, 2, 3),), (Key(1, 9, 3),), (Key(1, 2, 9),), (Key(1, 2, 3), Purpose.DUTY), (Key(1, 2, 3), Purpose.NOISE, 9)],
)
def test_another_seed_machine_window_purpose_or_block_gives_other_numbers(other):
    assert draw(*other) != draw(Key(1, 2, 3))


def test_what_belongs_to_a_machine_is_the_same_in_all_its_windows():
    assert Key(1, 2, 3).of_machine() == Key(1, 2, 9).of_machine()


def test_draws_of_a_cycle_do_not_depend_on_the_batch_nor_on_how_one_got_there():
    keys = [Key(1, machine) for machine in range(5)]
    crowd = CycleDraws(keys, Purpose.DUTY, 3, block=8)
    seen = [crowd.at(np.full(5, cycle)) for cycle in range(40)][-1]
    alone = CycleDraws(keys[3:4], Purpose.DUTY, 3, block=8).at(np.array([39]))
    assert seen.shape == (3, 5)
    assert seen[:, 3].tolist() == alone[:, 0].tolist()


def test_machines_may_be_in_different_cycles():
    keys = [Key(1, machine) for machine in range(2)]
    draws = CycleDraws(keys, Purpose.DUTY, 2, block=4)
    apart = draws.at(np.array([9, 2]))
    assert apart[:, 0].tolist() == draws.at(np.array([9, 9]))[:, 0].tolist()
    assert apart[:, 1].tolist() == draws.at(np.array([2, 2]))[:, 1].tolist()


def test_some_machines_of_a_batch_draw_what_they_draw_in_all_of_it():
    keys = [Key(1, machine) for machine in range(5)]
    cycles, some = np.array([3, 9, 0, 12, 7]), np.array([3, 1])
    drawn = CycleDraws(keys, Purpose.DUTY, 2, block=4).at(cycles[some], some)
    assert drawn.tolist() == CycleDraws(keys, Purpose.DUTY, 2, block=4).at(cycles)[:, some].tolist()


def test_draws_are_uniform_and_differ_from_cycle_to_cycle():
    draws = CycleDraws([Key(1, 0)], Purpose.DUTY, 1)
    numbers = np.concatenate([draws.at(np.array([cycle])).ravel() for cycle in range(1_000)])
    assert numbers.mean() == pytest.approx(0.5, abs=0.05)
    assert len(np.unique(numbers)) == 1_000
    assert ((numbers >= 0) & (numbers < 1)).all()
