"""From parts of a recording to a model, and from a model to a bundle."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gnn_service.core.errors import BundleError
from gnn_service.model.bundle import Bundle
from gnn_service.model.judge import Fusion
from gnn_service.training.dataset import UNKNOWN
from gnn_service.training.export import run_torch
from gnn_service.training.fit import data_sha256, fit_fusions, fit_model, make_bundle, vocabulary_of
from gnn_service.training.loop import Recipe
from gnn_service.training.partition import Partition, partition
from gnn_service.training.prepare import make_examples
from tests.support.rig import TINY, fit_tiny, one_thread, rig_model, rig_split, rig_structure, rig_windows, weights_of


def rig_part() -> Partition:
    return partition(rig_windows(), rig_split())


def bundle() -> Bundle:
    return make_bundle(rig_model(), {}, export=False)


def test_the_vocabulary_speaks_of_modes_that_training_has_seen_at_two_levels():
    windows = rig_windows()
    modes = vocabulary_of([windows]).modes
    assert modes == (
        "accumulator.gas_loss",
        "heat_exchanger.fouling",
        "pump.internal_leakage",
        "valve_block.switching_lag",
    )
    assert vocabulary_of([windows.take(windows.column("cooler") == 3)]).modes == tuple(
        mode for mode in modes if mode != "heat_exchanger.fouling"
    )
    unknown = replace(windows, levels={mode: np.full_like(v, UNKNOWN) for mode, v in windows.levels.items()})
    assert vocabulary_of([unknown]).modes == ()


def test_the_same_seed_gives_the_same_model_to_the_bit():
    again = fit_tiny(rig_part())
    assert weights_of(again) == weights_of(rig_model())
    assert {k: v.to_dict() for k, v in again.knowledge.items()} == {
        k: v.to_dict() for k, v in rig_model().knowledge.items()
    }
    assert weights_of(fit_tiny(rig_part(), seed=1)) != weights_of(rig_model())


def test_a_model_knows_its_machine_by_name_and_every_mode_is_fused():
    model = rig_model()
    assert list(model.machines) == ["uci-hydraulic-rig"]
    knowledge = model.knowledge["uci-hydraulic-rig"]
    assert set(knowledge.fusion) == {mode.id for mode in model.machines["uci-hydraulic-rig"].failure_modes}
    assert set(knowledge.calibrations) == {"valve.switching_delay", "pump.pump_leakage", "accumulator.gas_charge"}
    assert knowledge.regime is not None
    assert knowledge.reference is not None


def test_fusion_weights_are_fitted_where_validation_is_large_enough_and_plain_where_not():
    model, part = rig_model(), rig_part()
    knowledge = model.knowledge["uci-hydraulic-rig"]
    examples = make_examples(rig_structure(), knowledge, part.test, part.healthy, 0)
    assert len(examples) > 20
    fitted = fit_fusions(model.network, examples, "cpu")
    assert any(fusion != Fusion() for fusion in fitted.values())
    few = make_examples(rig_structure(), knowledge, part.test.take(np.arange(3)), part.healthy, 0)
    assert set(fit_fusions(model.network, few, "cpu").values()) == {Fusion()}


def test_a_mode_that_validation_does_not_know_is_not_fused():
    model, part = rig_model(), rig_part()
    levels = {**part.test.levels, "valve_switching_lag": np.full(len(part.test), UNKNOWN)}
    examples = make_examples(
        rig_structure(), model.knowledge["uci-hydraulic-rig"], replace(part.test, levels=levels), part.healthy, 0
    )
    assert "valve_switching_lag" not in fit_fusions(model.network, examples, "cpu")


def test_the_canary_is_a_window_with_the_networks_own_answer():
    model = rig_model()
    item, expected = model.canary
    answer = run_torch(model.network, {name: value[None] for name, value in item.items()})
    assert {name: value[0].tobytes() for name, value in answer.items()} == {
        name: value.tobytes() for name, value in expected.items()
    }
    assert not model.network.training


def test_edges_and_virtual_sensors_can_be_taken_away_for_an_ablation():
    recipe, part = Recipe(epochs=1, batch_size=32), rig_part()
    with one_thread():
        bare = fit_model([part], recipe, TINY, "none")
        blind = fit_model([part], recipe, replace(TINY, use_evidence=False))
    assert weights_of(bare) != weights_of(rig_model())
    item, expected = rig_model().canary
    mute = {**item, "evidence": np.zeros_like(item["evidence"])}
    with torch.no_grad():
        answers = [run_torch(blind.network, {n: v[None] for n, v in given.items()}) for given in (item, mute)]
    assert np.array_equal(answers[0]["severity"], answers[1]["severity"])
    assert not np.array_equal(
        run_torch(rig_model().network, {n: v[None] for n, v in mute.items()})["severity"][0], expected["severity"]
    )


def test_a_bundle_holds_all_that_serving_needs():
    made = bundle()
    assert made.vocabulary == rig_model().vocabulary
    assert made.machines == rig_model().machines
    known, kept = rig_model().knowledge["uci-hydraulic-rig"], made.knowledge["uci-hydraulic-rig"]
    assert kept.to_dict() == Bundle.build(made.manifest, b"", b"", made.canary).knowledge["uci-hydraulic-rig"].to_dict()
    assert kept.fusion == known.fusion
    weights = {name: value.tobytes() for name, value in made.weights.items()}
    assert weights == weights_of(rig_model())
    assert made.manifest["kinds"]["uci-hydraulic-rig"]["expects"]["PS1"] == {
        "quantity": "pressure",
        "unit": "bar",
        "rate_hz": 1.0,
    }
    assert made.manifest["recipe"]["seed"] == 0
    assert made.manifest["architecture"] == TINY.to_dict()


def test_the_version_names_the_weights_and_what_was_learned_with_them():
    model = rig_model()
    assert make_bundle(model, {"metrics": {"a": 1}}, export=False).version == bundle().version
    other = replace(model, knowledge={key: replace(k, fusion={}) for key, k in model.knowledge.items()})
    assert make_bundle(other, {}, export=False).version != bundle().version


def test_training_goes_on_from_the_weights_of_a_bundle():
    with one_thread():
        recipe = Recipe(epochs=1, batch_size=32, learning_rate=1e-12)
        model = fit_model([rig_part()], recipe, TINY, initial=bundle())
        fresh = fit_model([rig_part()], recipe, TINY)
    first = dict(rig_model().network.state_dict())
    assert all(torch.allclose(value, first[name], atol=1e-9) for name, value in model.network.state_dict().items())
    assert not torch.allclose(fresh.network.state_dict()["heads.root.weight"], first["heads.root.weight"], atol=1e-9)


def test_weights_of_another_architecture_or_of_other_modes_are_refused():
    recipe, part = Recipe(epochs=1, batch_size=32), rig_part()
    with pytest.raises(BundleError, match="train without --from"):
        fit_model([part], recipe, replace(TINY, width=32), initial=bundle())
    hot = part.train.take(part.train.column("cooler") == 3)
    with pytest.raises(BundleError, match="speaks of other failure modes"):
        fit_model([replace(part, train=hot)], recipe, TINY, initial=bundle())


def test_the_hash_of_data_changes_with_readings_groups_and_levels_and_with_nothing_else():
    windows = rig_windows()
    grids, group = windows.grids.copy(), windows.group.copy()
    grids[3, 2, 1] += 0.01
    group[5] = "käfer"
    levels = {**windows.levels, "valve_switching_lag": np.roll(windows.levels["valve_switching_lag"], 1)}
    changed = [replace(windows, grids=grids), replace(windows, group=group), replace(windows, levels=levels)]
    assert len({data_sha256(each) for each in (windows, *changed)}) == 4
    assert data_sha256(replace(windows, extra={})) == data_sha256(windows)
