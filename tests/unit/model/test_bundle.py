"""A model as a folder: there and back, and refused in one line where anything is wrong with it."""

import ast
import hashlib
import pickletools
from pathlib import Path

import numpy as np
import orjson
import pytest
import safetensors.numpy

import gnn_service
from gnn_service.core.errors import BundleError, InvalidMachineError
from gnn_service.model import bundle as module
from gnn_service.model.bundle import CANARY, CHECKSUM, FIGURES, GRAPH, MANIFEST, PARTS, WEIGHTS, Bundle
from gnn_service.model.judge import Knowledge
from gnn_service.model.network import INPUTS
from tests.support.duty_cycle import rig
from tests.support.tiny_model import knowledge, network, tiny_bundle, vocabulary


@pytest.fixture
def folder(tmp_path) -> Path:
    """A complete bundle on disk; the graph is a stand-in, opened by the engine alone."""
    tiny = tiny_bundle()
    manifest = {k: v for k, v in tiny.manifest.items() if k not in {CHECKSUM, "files", "format", "version", "encoding"}}
    whole = Bundle.build(manifest, tiny.parts[WEIGHTS], b"an exported graph", tiny.canary)
    path = tmp_path / "bundle"
    path.mkdir()
    whole.write(path)
    return path


def refused(folder: Path) -> str:
    with pytest.raises(BundleError) as error:
        Bundle.load(folder)
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(f"{folder}: ")
    return text.removeprefix(f"{folder}: ")


def rewrite(folder: Path, **changes) -> None:
    """A manifest with other contents and a checksum that fits them."""
    manifest = {**orjson.loads((folder / MANIFEST).read_bytes()), **changes}
    manifest = {name: value for name, value in manifest.items() if value is not None}
    manifest[CHECKSUM] = module._checksum(manifest)
    (folder / MANIFEST).write_bytes(orjson.dumps(manifest))


def test_what_is_written_is_what_is_read(folder):
    loaded = Bundle.load(folder)
    assert {path.name for path in folder.iterdir()} == {MANIFEST, *PARTS}
    assert loaded.onnx == b"an exported graph"
    assert loaded.version == tiny_bundle().version
    assert loaded.vocabulary == vocabulary()
    assert loaded.machines == {rig().id: rig()}
    assert loaded.knowledge == {rig().id: knowledge()}
    item, answer = loaded.canary
    assert tuple(item) == INPUTS
    assert all(np.array_equal(item[name], tiny_bundle().canary[0][name]) for name in INPUTS)
    assert all(np.array_equal(answer[name], tiny_bundle().canary[1][name]) for name in answer)
    stated = {name: tuple(value.shape) for name, value in network().state_dict().items()}
    assert {name: value.shape for name, value in loaded.weights.items()} == stated


def test_a_bundle_just_built_equals_the_one_read_back(folder):
    loaded = Bundle.load(folder)
    second = folder.parent / "second"
    second.mkdir()
    loaded.write(second)
    again = Bundle.load(second)
    assert again.manifest == loaded.manifest
    assert again.parts == loaded.parts


def test_the_version_follows_the_weights_and_what_is_known():
    tiny = tiny_bundle()
    facts = {k: v for k, v in tiny.manifest.items() if k not in {CHECKSUM, "files", "version"}}
    other = dict(tiny.manifest["kinds"][rig().id], knowledge=Knowledge().to_dict())
    versions = {
        Bundle.build(facts, weights, b"graph", tiny.canary).version
        for weights, facts in (
            (tiny.parts[WEIGHTS], facts),
            (tiny.parts[WEIGHTS], {**facts, "recipe": {}}),
            (tiny.parts[WEIGHTS] + b"\0", facts),
            (tiny.parts[WEIGHTS], {**facts, "kinds": {rig().id: other}}),
        )
    }
    assert len(versions) == 3


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("place", [0, -1, 0.5])
def test_one_damaged_byte_is_noticed_with_its_file(folder, name, place):
    data = bytearray((folder / name).read_bytes())
    data[int(place * len(data)) if isinstance(place, float) else place] ^= 0x01
    (folder / name).write_bytes(data)
    assert refused(folder) == f"{name} is damaged: its SHA-256 is not the manifest's; copy it again"


@pytest.mark.parametrize("seed", range(20))
def test_one_damaged_byte_in_the_manifest_is_noticed(folder, seed):
    path = folder / MANIFEST
    data = bytearray(path.read_bytes())
    random = np.random.default_rng(seed)
    digits = [k for k, byte in enumerate(data) if chr(byte).isalnum()]
    data[random.choice(digits)] ^= 0x01
    path.write_bytes(data)
    assert MANIFEST in refused(folder) or "input encoding" in refused(folder)


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_noticed_with_its_sizes(folder, name, keep):
    data = (folder / name).read_bytes()
    short = data[: int(keep * len(data))]
    (folder / name).write_bytes(short)
    assert refused(folder) == (
        f"{name} holds {len(short)} bytes and the manifest says {len(data)}; copy the bundle again"
    )


@pytest.mark.parametrize("name", [*PARTS, MANIFEST])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert refused(folder).startswith(f"{name} cannot be read: No such file or directory")


def test_a_truncated_manifest_is_no_json(folder):
    data = (folder / MANIFEST).read_bytes()
    (folder / MANIFEST).write_bytes(data[: len(data) // 2])
    text = refused(folder)
    assert text.startswith(f"{MANIFEST} is not JSON")
    assert text.endswith("copy the bundle again")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"weights: yes", b'{"format": '])
def test_a_manifest_that_is_no_json_is_refused(folder, content):
    (folder / MANIFEST).write_bytes(content)
    assert refused(folder).startswith(f"{MANIFEST} is not JSON")


@pytest.mark.parametrize(
    "content", [b"[]", b"3", b"null", b"{}", b'{"format": "gnn-service/bundle/2"}', b'{"name": "left-pad"}']
)
def test_the_manifest_of_something_else_is_refused(folder, content):
    (folder / MANIFEST).write_bytes(content)
    assert refused(folder) == f"{MANIFEST} is not of format gnn-service/bundle/1; it belongs to something else"


def test_a_bundle_for_another_encoding_is_refused(folder):
    rewrite(folder, encoding={**module.ENCODING, "channels": 4})
    assert refused(folder) == "it was trained for another input encoding; train it again with this version"


def test_a_changed_number_in_the_manifest_is_noticed(folder):
    manifest = orjson.loads((folder / MANIFEST).read_bytes())
    manifest["kinds"][rig().id]["knowledge"]["fusion"]["cooler_fouling"]["temperature"] = 9.0
    (folder / MANIFEST).write_bytes(orjson.dumps(manifest))
    assert refused(folder) == f"{MANIFEST} is damaged or was changed: its checksum does not fit; copy the bundle again"


@pytest.mark.parametrize("files", [None, [], {}, 3, {WEIGHTS: {"bytes": 1, "sha256": ""}}, dict.fromkeys(PARTS, 3)])
def test_a_manifest_that_lists_no_files_is_refused(folder, files):
    rewrite(folder, files=files)
    assert refused(folder) == f"{MANIFEST} does not list the bundle's files; train it again"


@pytest.mark.parametrize(
    "changes",
    [
        {"kinds": None},
        {"kinds": []},
        {"kinds": {}},
        {"kinds": {"x": {"machine": {}, "knowledge": {}}}},
        {"vocabulary": None},
        {"vocabulary": {"component_types": []}},
        {"inputs": ["readings", "surprise"]},
        {"inputs": None},
        {"version": None},
        {"architecture": None},
        {"architecture": {}},
        {"architecture": "large"},
        {"split_sha256": None},
        {"split_sha256": ["ab"]},
        {"metrics": None},
        {"metrics": []},
        {"metrics": {"pump": None}},
        {"metrics": {"pump": {"accuracy": 1.0}}},
        {"metrics": {"pump": {**dict.fromkeys(FIGURES), "ece": "small"}}},
        {"metrics": {"pump": {"modes": {"leak": {}}}}},
        {"made_with": None},
        {"parameters": "many"},
        {"data": {"rig": {}}},
    ],
    ids=str,
)
def test_a_manifest_without_what_a_bundle_needs_is_refused(folder, changes):
    rewrite(folder, **changes)
    text = refused(folder)
    assert "train it again" in text


@pytest.mark.parametrize("name", [WEIGHTS, CANARY])
def test_a_file_that_is_no_safetensors_is_refused_even_where_its_hash_fits(folder, name):
    junk = b"\x80\x04\x95 a pickle in disguise"
    (folder / name).write_bytes(junk)
    files = orjson.loads((folder / MANIFEST).read_bytes())["files"]
    rewrite(folder, files={**files, name: {"bytes": len(junk), "sha256": hashlib.sha256(junk).hexdigest()}})
    assert "the bundle is not one that this version can use" in refused(folder)


def test_a_bundle_without_a_graph_cannot_be_loaded(folder):
    (folder / GRAPH).write_bytes(b"")
    files = orjson.loads((folder / MANIFEST).read_bytes())["files"]
    rewrite(folder, files={**files, GRAPH: {"bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()}})
    assert refused(folder) == "the bundle is incomplete; train it again"


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    assert "there is no bundle here; train one with `gnn-service train`" in refused(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    assert "there is no bundle here" in refused(tmp_path / "file")


def test_a_torn_write_is_no_bundle(folder, tmp_path):
    """The manifest comes last: whatever was there before, half of a new bundle is refused."""
    half = tmp_path / "half"
    half.mkdir()
    (half / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes())
    assert refused(half).startswith(f"{MANIFEST} cannot be read")


def test_no_part_of_a_bundle_is_a_pickle(folder):
    for path in folder.iterdir():
        with pytest.raises(ValueError, match=r".*"):
            list(pickletools.genops(path.read_bytes()))
    assert safetensors.numpy.load((folder / WEIGHTS).read_bytes())


def test_nothing_in_the_package_unpickles():
    forbidden = {"pickle", "dill", "joblib", "cloudpickle", "marshal", "shelve"}
    for path in Path(gnn_service.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & forbidden, path
            assert not (isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.load"), path
            assert not (
                isinstance(node, ast.keyword) and node.arg == "allow_pickle" and ast.unparse(node.value) == "True"
            )


def test_a_machine_that_training_never_saw_is_not_known():
    assert tiny_bundle().knowledge_of(rig().model_copy(update={"id": "another"})) == Knowledge()


def test_a_known_machine_may_have_other_sensors_in_another_order():
    bundle, sensors = tiny_bundle(), rig().sensors
    assert bundle.knowledge_of(rig().model_copy(update={"sensors": sensors[:3:-1]})) == knowledge()
    faster = tuple(s.model_copy(update={"rate_hz": 100.0, "name": "fast"}) for s in sensors)
    assert bundle.knowledge_of(rig().model_copy(update={"sensors": faster})) == knowledge()


@pytest.mark.parametrize(
    "change, text",
    [
        (
            {"unit": "[psi]"},
            r"sensors\[0\].unit: the model knows uci-hydraulic-rig with unit bar, not \[psi\]; describe",
        ),
        ({"component": "pump"}, r"component accumulator, not pump; describe it so, or give the machine another id"),
        ({"range": {"low": 0, "high": 400}}, r"range 0 to 250, not 0 to 400"),
        ({"normal": None}, r"normal 145 to 192, not none"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_known_machine_whose_sensor_is_another_one_is_refused(change, text):
    document = rig().model_dump(mode="json")
    document["sensors"][0].update(change)
    machine = type(rig()).model_validate(document)
    with pytest.raises(InvalidMachineError, match=text):
        tiny_bundle().knowledge_of(machine)


def test_the_shipped_bundle_is_whole_and_knows_the_rig():
    shipped = Bundle.open(None)
    assert rig().id in shipped.machines
    assert shipped.knowledge_of(rig()).reference is not None
    assert Bundle.shipped().version == shipped.version
