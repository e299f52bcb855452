"""YAML files and references as plain data: what is ordinary stays, and what is hostile ends in one sentence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from spaces import cost, decode, network, networks
from spaces.errors import InputError
from spaces.plain import MAX_BYTES, MAX_DEPTH, MAX_NODES, check_plain, load_yaml, resolve
from spaces.reference import CONF, read_yaml

NETWORK = "in_channels: 3\nnum_classes: 10\nresolution: 32\nlayers: [{block: conv, channels: 8}, %s]\n"


def chain(first: str, link: str, length: int) -> str:
    """`a0` and a number of values that each refer to the one before."""
    return "\n".join([f"a0: {first}", *(link.format(i, i - 1) for i in range(1, length)), "layers: []"])


HOSTILE = {
    "deep lists": ("layers: " + "[" * 5000 + "]" * 5000, "50 deep"),
    "deep mappings": ("{a: " * 5000 + "1" + "}" * 5000, "50 deep"),
    "deep block": ("- " * 5000 + "1", "50 deep"),
    "an alias inside its anchor": ("layers: &a [*a]", r"alias \*a"),
    "a merge of itself": ("layers: &a {<<: *a}", r"alias \*a"),
    "aliases that double": (chain("&a0 [1, 1]", "a{0}: &a{0} [*a{1}, *a{1}]", 60), "too many"),
    "merges that double": (chain("&a0 {x: 1}", "a{0}: &a{0} {{<<: [*a{1}, *a{1}]}}", 60), "too many"),
    "texts that double": (chain("xx", "a{0}: '${{a{1}}}${{a{1}}}'", 45), "characters"),
    "lists that double": (chain("[1]", "a{0}: ['${{a{1}}}', '${{a{1}}}']", 45), "values"),
    "a long way of references": (chain("1", "a{1}: ${{a{0}}}", 2000).replace("a0: 1\n", "") + "\na1999: 1", "others"),
    "a circle": ("a: ${b}\nb: ${a}\nlayers: []", "circle"),
    "a reference to what holds it": ("a: {b: '${a}'}\nlayers: []", "circle"),
    "6,000 digits": (NETWORK % f"{{block: conv, channels: {'9' * 6000}}}", "6,000 characters"),
    "hexadecimal digits": (NETWORK % f"{{block: conv, channels: 0x{'f' * 60_000}}}", "characters"),
    "base 60": (NETWORK % f"{{block: conv, channels: 1{':1' * 60_000}}}", "characters"),
    "beyond 64 bits": (NETWORK % "{block: conv, channels: 99999999999999999999}", "channels: .* beyond 64 bits"),
    "a set": ("layers: !!set {1, 2}", "layers cannot be of the type set"),
    "bytes": ("layers: !!binary aGVsbG8=", "layers cannot be of the type bytes"),
    "a date": ("layers: !!timestamp 2020-01-01", "layers cannot be of the type date"),
    "a tag that does not suit": ("layers: !!int three", "tag"),
    "a switch that is none": ("layers: !!bool maybe", "tag"),
    "a key without a value": ("layers: []\nnull: 1", "a key is a text or a number"),
    "a list as a key": ("? [a]\n: 1", "unhashable key"),
    "equal numbers as keys": ("layers: []\na: {1: 2, 1.0: 3}", "line 2.*duplicate key 1.0"),
    "several documents": ("layers: []\n---\nlayers: []", "another document"),
    "a NUL": ("layers: [\0]", "#x0000"),
    "nothing": ("", "empty"),
    "a comment": ("# nothing\n", "empty"),
    "a large file": ("a: " + "x" * MAX_BYTES, "1,000,000 bytes"),
    "many values": ("layers: [" + "1," * MAX_NODES + "]", "40,000 values"),
    "a long text with references": ("a: '" + "${" * 100_000 + "'", "1,000 characters"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_end_in_one_sentence(name: str, tmp_path: Path) -> None:
    text, words = HOSTILE[name]
    path = tmp_path / "hostile.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        read_yaml(path)
    assert "hostile.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\xff\xfel\x00a\x00", "not UTF-8"),
        (b"layers: [\xe9]", "byte 9 is not UTF-8"),
        (bytes(range(256)), "not a readable YAML file"),
    ],
)
def test_other_encodings_are_named(data: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(data)
    with pytest.raises(InputError, match=words):
        read_yaml(tmp_path / "x.yaml")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    for name, words in (("pipe.yaml", "pipe"), ("folder.yaml", "folder"), ("none.yaml", "no file"), ("\0", "null")):
        with pytest.raises(InputError, match=words):
            read_yaml(tmp_path / name)
    with pytest.raises(InputError, match="pipe or device"):
        read_yaml("/dev/zero")


def test_a_byte_order_mark_anchors_merges_and_scientific_numbers_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    text = "\ufeffa: &a {lr: 1e-3, day: 2020-01-01}\nb: {<<: *a, lr: 2}\nc: [*a, *a]\nd: {0.5: 1, 1: 2}\n"
    path.write_text(text, encoding="utf-8")
    first = {"lr": 0.001, "day": "2020-01-01"}
    assert load_yaml(path) == {"a": first, "b": {**first, "lr": 2}, "c": [first, first], "d": {0.5: 1, 1: 2}}


@pytest.mark.parametrize(
    ("data", "resolved"),
    [
        ({"a": 1, "x": "${a}"}, 1),
        ({"a": 1, "x": "${ a }b${a}"}, "1b1"),
        ({"a": 1, "x": r"\${a}"}, "${a}"),
        ({"a": 1, "x": r"\\${a}"}, "\\1"),
        ({"a": {"b": [1, {"c": 2}]}, "x": "${a.b[1].c}"}, 2),
        ({"a": {"b": "${c}"}, "c": {"d": 4}, "x": "${a.b.d}"}, 4),
        ({"a": 5, "x": {"y": ["${...a}", "${.0}"]}}, {"y": [5, 5]}),
        ({"a": "$5 {x}", "x": "${a}"}, "$5 {x}"),
    ],
)
def test_references_name_other_values(data: dict[str, Any], resolved: Any) -> None:
    assert resolve(data)["x"] == resolved


def test_a_reference_gives_a_copy() -> None:
    resolved = resolve({"a": [1], "x": "${a}"})
    resolved["x"].append(2)
    assert resolved["a"] == [1]


@pytest.mark.parametrize("text", ["${oc.env:HOME}", "${a${a}}", "${", "${}", "${b}", "${.....a}", "${a.b}", "${a[0]}"])
def test_other_references_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^x: "):
        resolve({"a": 1, "x": text})


def test_data_that_holds_itself_is_refused() -> None:
    data: list[Any] = []
    data.append(data)
    with pytest.raises(InputError, match="50 deep"):
        check_plain(data)
    with pytest.raises(InputError, match="50 deep"):
        decode({"in_channels": 3, "num_classes": 10, "resolution": 32, "layers": data})


def _size(data: Any) -> tuple[int, int]:
    """(values and keys, depth)."""
    if not isinstance(data, dict | list):
        return 1, 0
    inner = [_size(value) for value in (data.values() if isinstance(data, dict) else data)]
    keys = len(data) if isinstance(data, dict) else 0
    return 1 + keys + sum(n for n, _ in inner), 1 + max((depth for _, depth in inner), default=0)


def test_the_limits_are_far_from_all_that_is_here() -> None:
    texts = [path.read_text() for path in CONF.rglob("*.yaml")]
    texts += [yaml.safe_dump(network(name).to_dict()) for name in networks()]
    assert 20 * max(map(len, texts)) < MAX_BYTES
    sizes = [_size(yaml.safe_load(text)) for text in texts]
    assert 20 * max(count for count, _ in sizes) < MAX_NODES
    assert 4 * max(depth for _, depth in sizes) < MAX_DEPTH  # OmegaConf ends near 90


def test_a_network_of_many_layers_reads_back(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(NETWORK % "{block: conv, channels: 8, repeat: 2880}")  # 20 times resnet_rs_420's
    architecture = decode(read_yaml(tmp_path / "x.yaml"))
    assert len(architecture.layers) == 2882
    (tmp_path / "y.yaml").write_text(yaml.safe_dump(architecture.to_dict()))
    assert decode(read_yaml(tmp_path / "y.yaml")) == architecture
    assert cost(architecture).params == 3 * 8 * 9 + 16 + 2880 * (8 * 8 * 9 + 16) + 8 * 10 + 10
