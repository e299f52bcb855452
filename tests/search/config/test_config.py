"""What a command line becomes: the composed config, the study's name, and one sentence for every mistake."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from search.config import CONF, RunConfig, compose, run_command
from search.config.overrides import check_study_name, default_study_name, read_jobs
from search.system.secrets import hide_password, without_password
from search.system.user_modules import import_user_modules
from spaces.errors import InputError

FILES = {
    "config": """
        defaults: [{space: mixed}, {data: digits}, {train: short}, {sampler: tpe}, {network: null}, _self_]
        trials: 40
        seed: 0
        study: null
        results_dir: results
        storage: null
        """,
    "space/mixed": """
        width_multiplier: {choice: [0.5, 0.75, 1.0]}
        parameters: {base: 16}
        layers:
          - {block: conv, channels: '${...parameters.base}'}
          - {block: {choice: [conv, {shuffle_agg: {groups: 4}}]}, repeat: {int: [1, 3]}}
        """,
    "space/plain": "layers: [{block: conv, channels: 8}]",
    "data/digits": "{name: digits, resolution: null}",
    "data/folder": "name: folder\npath: ???\nresolution: 32",
    "train/short": "{epochs: 3, lr: 0.1}",
    "sampler/tpe": "name: tpe",
    "sampler/random": "name: random",
    "network/resnet18": "layers: []",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(line[8:] if line.startswith(" " * 8) else line for line in text.splitlines()))
    return folder


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    return write(tmp_path / "conf", FILES)


def one(conf: Path, *argv: str) -> dict[str, Any]:
    (config,) = compose(argv, conf=conf)
    return config


def mistake(conf: Path, *argv: str) -> str:
    with pytest.raises(InputError) as caught:
        compose(argv, conf=conf)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def at(config: dict[str, Any], key: str) -> Any:
    node: Any = config
    for part in key.split("."):
        node = node[int(part)] if isinstance(node, list) else node[part]
    return node


def test_config_is_plain_resolved_data_with_absolute_paths(conf: Path) -> None:
    config = one(conf, "data=folder", "data.path=images")
    assert json.loads(json.dumps(config)) == config
    assert config["space"]["layers"][0]["channels"] == 16
    assert config["results_dir"] == str(Path.cwd() / "results")
    assert config["data"]["path"] == str(Path.cwd() / "images")
    assert config["choices"] == {"space": "mixed", "data": "folder", "train": "short", "sampler": "tpe"}
    assert "hydra" not in config


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("space.width_multiplier={choice: [0.5, 1.0]}", {"choice": [0.5, 1.0]}),  # one domain over another
        ("space.width_multiplier={float: [0.5, 1.0], log: true}", {"float": [0.5, 1.0], "log": True}),  # another kind
        ("space.width_multiplier=0.5", 0.5),  # fixed over open
        ("train.lr={float: [1e-3, 1e-1], log: true}", {"float": [0.001, 0.1], "log": True}),  # open over fixed
        ("space.layers.1.repeat={choice: [1, 2]}", {"choice": [1, 2]}),  # inside a list
        ("space.layers.1.block={shuffle_agg: {groups: 2}}", {"shuffle_agg": {"groups": 2}}),
        ("space.layers.1.block.choice.1.shuffle_agg.groups=8", 8),  # inside an alternative
        ("space.layers.0={block: pool}", {"block": "pool"}),
        ("space.layers=[{block: pool}]", [{"block": "pool"}]),
        ("space.parameters={base: 8}", {"base": 8}),
        (
            "space.activation={choice: [relu, h_swish]}",
            {"choice": ["relu", "h_swish"]},
        ),  # a key the file does not state
        ("space.head.dropout=0.2", 0.2),  # nor the mapping around it
        ("train.optimizer=sgd", "sgd"),
        ("train.lr=${seed}", 0),  # an interpolation names another value
        ("space.layers.0.channels={at_width: {0.5: 48, 1.0: 116}}", {"at_width": {0.5: 48, 1.0: 116}}),
        ("+data.shuffle=true", True),  # with + anywhere
        ("++trials=7", 7),
        ("storage=postgresql+psycopg://ann@host:5432/db?sslmode=require", None),
        ("study=mixed-digits-seed=1", None),  # `=` is no character of the grammar, but one of our names
        ("results_dir=/tmp/été & hiver=1", None),
        ("study=2024", None),  # a text, though it looks like a number
        ("study=1e3", None),
    ],
)
def test_given_value_replaces_the_old_one_whole(conf: Path, argument: str, value: Any) -> None:
    key, _, text = argument.lstrip("+").partition("=")
    assert at(one(conf, argument), key) == (text if value is None else value)


def test_later_override_reaches_into_an_earlier_one(conf: Path) -> None:
    config = one(conf, "space.layers.1.block={shuffle_agg: {groups: 2}}", "space.layers.1.block.shuffle_agg.groups=8")
    assert config["space"]["layers"][1]["block"] == {"shuffle_agg": {"groups": 8}}
    assert one(conf, "seed=1", "seed=2")["seed"] == 2
    assert "parameters" not in one(conf, "space=plain", "~space.layers")["space"]


def test_multirun_gives_a_config_for_each_job(conf: Path) -> None:
    configs = compose(["-m", "space=mixed,plain", "seed=range(0,2)"], conf=conf)
    assert [(config["choices"]["space"], config["seed"]) for config in configs] == [
        ("mixed", 0),
        ("mixed", 1),
        ("plain", 0),
        ("plain", 1),
    ]
    assert "width_multiplier" not in configs[2]["space"]
    rates = compose(["--multirun", "train.lr=choice({float: [1e-3, 1e-1], log: true}, 0.5)", "trials=3"], conf=conf)
    assert [config["train"]["lr"] for config in rates] == [{"float": [0.001, 0.1], "log": True}, 0.5]
    widths = compose(["-m", "space.width_multiplier={choice: [0.5, 1]},{choice: [1]}"], conf=conf)
    assert [config["space"]["width_multiplier"]["choice"] for config in widths] == [[0.5, 1], [1]]
    assert len(compose(["-m", "space=glob(*)"], conf=conf)) == 2


def test_jobs_share_no_data(conf: Path) -> None:
    first, second = compose(["-m", "seed=0,1", "space.extra={a: [1]}"], conf=conf)
    first["space"]["extra"]["a"].append(2)
    assert second["space"]["extra"] == {"a": [1]}


@pytest.mark.parametrize("folder", ["own", "a folder, with [odd] 'signs' = é"])
def test_config_dir_adds_own_files(conf: Path, folder: str) -> None:
    own = write(Path.cwd() / folder, {"space/mine": "layers: []", "experiment/big": "# @package _global_\ntrials: 900"})
    assert one(conf, "--config-dir", folder, "space=mine")["space"] == {"layers": []}
    assert one(conf, f"--config-dir={own}", "+experiment=big")["trials"] == 900
    assert one(conf, "--config-dir", folder)["choices"]["space"] == "mixed"
    assert len(compose(["--config-dir", folder, "-m", "space=glob(*)"], conf=conf)) == 3


def test_own_file_may_build_on_one_of_the_project(conf: Path) -> None:
    write(Path.cwd(), {"space/mine": "defaults: [mixed, _self_]\nwidth_multiplier: 1.0"})
    space = one(conf, "--config-dir", ".", "space=mine")["space"]
    assert space["width_multiplier"] == 1.0
    assert len(space["layers"]) == 2


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["space=mixd"], ["space=mixd", "did you mean 'mixed'"]),
        (["space=zzzzzz"], ["valid: mixed, plain"]),
        (["spce=mixed"], ["'spce'", "did you mean 'space'"]),
        (["trails=3"], ["'trails'", "did you mean 'trials'"]),
        (["data.resolutin=3"], ["data has no key 'resolutin'", "did you mean 'resolution'"]),
        (["space={layers: []}"], ["space takes the name of a file", "space.key=value"]),
        (["~space"], ["space=NAME"]),
        (["~space.layrs"], ["did you mean 'layers'"]),
        (["space.layers.2.repeat=1"], ["space.layers is a list", "'2'", "0 to 1"]),
        (["space.layers.first.repeat=1"], ["'first'"]),
        (["space.layers.0.block.conv=1"], ["space.layers.0.block is 'conv'"]),
        (["network.width_multiplier=0.5"], ["no network is chosen", "network=NAME", "resnet18"]),
        (["trials"], ["'trials'", "key=value"]),
        ([""], ["key=value"]),
        (["=3"], ["not a key"]),
        (["space.width_multiplier={choice: [0.5"], ["cannot read", "{choice: [0.5", "single quotes"]),
        (["seed=no_such(1)"], ["no_such"]),
        (["seed=0,1"], ["several values", "-m"]),
        (["-m", "seed=interval(0,1)"], ["range"]),
        (["-m", "space=glob(zz*)"], ["nothing"]),
        (["-m", "seed=range(0,1,0)"], ["range(0,1,0)"]),
        (["-m", "seed=0,0"], ["2 of the 2 jobs", "mixed-digits-seed=0"]),
        (["-m", "seed=0,1", "study=same"], ["'same'"]),
        (["data=folder"], ["data.path must be given", "data.path=..."]),
        (["train.lr=${nothing}"], ["train.lr", "nothing"]),
        (["space.a=${space.b}", "space.b=${space.a}"], ["space.a"]),
        (["train.lr=${oc.env:HOME}"], ["train.lr", "not allowed"]),
        (["train.lr=a${now:%Y}"], ["train.lr", "not allowed"]),
        (["train.lr='${${study}}'"], ["train.lr", "not allowed"]),
        (["hydra.run.dir=x"], ["'hydra'"]),
        (["hydra/launcher=basic"], ["hydra/launcher"]),
        (["space@data=plain"], ["space@data"]),
        (["--workers", "4"], ["--workers", "key=value"]),
        (["--config-dir", "nowhere"], ["nowhere is not a folder"]),
        (["study=../other"], ["'../other'", "'/'"]),
        (["study="], ["not empty"]),
    ],
)
def test_mistake_is_one_sentence(conf: Path, argv: list[str], words: list[str]) -> None:
    message = mistake(conf, *argv)
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("layers: [{block: conv}", ["mine.yaml, line", "not a readable YAML file"]),
        ("layers: []\nlayers: []", ["mine.yaml, line 2", "duplicate key"]),
        ("layers: !!python/object/apply:os.getcwd []", ["mine.yaml, line 1", "python/object/apply"]),
        ("[1, 2]", ["space/mine.yaml", "mapping"]),
        ("7", ["mine.yaml"]),
        ("channels: ${", ["mine.yaml"]),
        ("channels: ${oc.env:HOME}", ["space.channels", "not allowed"]),
        ("channels: ${...missing}", ["space.channels"]),
        ("channels: ???", ["space.channels must be given"]),
        ("defaults: [plane]", ["space/mine", "space/plane"]),
        ("defaults: 3", ["mine.yaml"]),
    ],
)
def test_mistake_in_own_file_names_the_place(conf: Path, text: str, words: list[str]) -> None:
    write(Path.cwd(), {"space/mine": text})
    message = mistake(conf, "--config-dir", ".", "space=mine")
    assert [word for word in words if word not in message] == []


def test_own_file_that_is_not_text_is_named(conf: Path) -> None:
    (Path.cwd() / "space").mkdir()
    (Path.cwd() / "space" / "mine.yaml").write_bytes(b"layers: \xff\xfe\x00")
    assert "mine.yaml" in mistake(conf, "--config-dir", ".", "space=mine")


def test_own_file_may_not_stand_for_another_of_the_same_name(conf: Path) -> None:
    write(Path.cwd(), {"space/mixed": "layers: []", "space/plain": FILES["space/plain"]})
    assert "two different files" in mistake(conf, "--config-dir", ".")
    assert one(conf, "--config-dir", ".", "space=plain")["space"]["layers"][0]["channels"] == 8


def test_own_file_cannot_make_hydra_run_code(conf: Path) -> None:
    callback = "hydra: {callbacks: {x: {_target_: pathlib.Path.mkdir, self: proof}}, run: {dir: proof}}"
    write(Path.cwd(), {"space/mine": f"# @package _global_\n{callback}\nspace: {{layers: []}}"})
    one(conf, "--config-dir", ".", "space=mine")
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["space"]


def test_nothing_of_hydra_remains(conf: Path) -> None:
    here = Path.cwd()
    one(conf)
    mistake(conf, "space=none")
    assert Path.cwd() == here
    assert list(here.iterdir()) == []
    assert not GlobalHydra.instance().is_initialized()
    assert not any(map(OmegaConf.has_resolver, ("now", "hydra", "python_version")))


def test_composes_inside_somebody_elses_hydra_application(conf: Path) -> None:
    with initialize_config_dir(str(conf), version_base="1.3"):
        outer = GlobalHydra.instance().hydra
        assert one(conf)["trials"] == 40
        assert GlobalHydra.instance().hydra is outer
        assert OmegaConf.has_resolver("now")
    for name in ("now", "hydra", "python_version"):
        OmegaConf.clear_resolver(name)


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        ([], "mixed-digits"),
        (["space=plain", "data=folder", "data.path=/images"], "plain-folder"),
        (["trials=9", "storage=sqlite:///x.db", "results_dir=/tmp"], "mixed-digits"),
        (["seed=1"], "mixed-digits-seed=1"),
        (["train.lr=1e-3", "sampler=random", "seed=1"], "mixed-digits-sampler=random-seed=1-train.lr=0.001"),
        (["seed=1", "train.lr=0.001", "sampler=random"], "mixed-digits-sampler=random-seed=1-train.lr=0.001"),
        (["space.width_multiplier=0.5", "+space.bias=True"], "mixed-digits-space.bias=true-space.width_multiplier=0.5"),
        (["space.layers.0.channels=8", "space.layers.0.channels=4"], "mixed-digits-space.layers.0.channels=4"),
        (["study=mine"], "mine"),
    ],
)
def test_default_study_name(conf: Path, argv: list[str], name: str) -> None:
    assert one(conf, *argv)["study"] == name


def test_names_of_different_overrides_differ() -> None:
    alike = [
        ["space.x={choice: [1, 2]}"],
        ["space.x={choice: [12]}"],
        ["space.x=[choice, 1, 2]"],
        ["space.x=choice_1_2"],
        ["space.x=a b"],
        ["space.x=a_b"],
        ["space.x=A_B"],
        ["space.x='1'"],
        ["space.x=1"],
        ["space.x=true"],
        ["space.x='true'"],
        ["space.x=null"],
        ["space.x='null'"],
        ["~space.width_multiplier"],
        ["space.width_multiplier={deleted: true}"],
        ["space.x=1-space.y=2"],
        ["space.x=1", "space.y=2"],
        [f"space.x={'a' * 200}"],
        [f"space.x={'a' * 201}"],
        ["space.x=../../escape"],
    ]
    names = [default_study_name("mixed", "digits", read_jobs(argv, {}, sweep=False)[0]) for argv in alike]
    names += [default_study_name(*pair, []) for pair in (("a", "b-c"), ("a-b", "c"))]
    assert len({name.lower() for name in names}) == len(alike) + 2
    for name in names:
        assert len(name) <= 120
        assert check_study_name(name) == name
        assert name.isascii()
        assert os.path.dirname(name) == ""


def test_name_is_the_same_for_the_same_mapping(conf: Path) -> None:
    first = one(conf, "train.lr={float: [0.001, 0.1], log: true}", "seed=1")
    second = one(conf, "seed=1", "train.lr={log: True, float: [1e-3, 1e-1]}")
    assert first["study"] == second["study"]


@pytest.mark.parametrize("name", ["", " ", ".", "..", ".hidden", "a/b", "a\\b", "a\nb", "a\0b", "x" * 201, 3, None])
def test_study_name_cannot_leave_its_folder(name: object) -> None:
    with pytest.raises(InputError, match="study="):
        check_study_name(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://ann:s3cret@host/db", "postgresql://ann:***@host/db"),
        ("postgresql://ann:s3/cr@et@host/db", "postgresql://ann:***@host/db"),
        ("postgresql://ann:s3 c/ret@host/db", "postgresql://ann:***@host/db"),
        ("postgresql://ann:s3%2Fcret@host/db", "postgresql://ann:***@host/db"),
        ("'postgresql://ann:s3#cret@host/db' is none", "'postgresql://ann:***@host/db' is none"),
        ("postgresql://host/db?user=ann&password=s3/cret&x=1", "postgresql://host/db?user=ann&password=***&x=1"),
        ("postgresql://host/db?sslpassword=s3cret", "postgresql://host/db?sslpassword=***"),
        ("postgresql://ann@host:5432/db, as ever", "postgresql://ann@host:5432/db, as ever"),
    ],
)
def test_a_password_is_hidden_whatever_it_is_made_of(text: str, shown: str) -> None:
    assert hide_password(text) == shown


def test_without_its_password_an_argument_can_be_run() -> None:
    assert without_password("storage=postgresql://ann:s3cret@host/db") == "storage=postgresql://ann@host/db"
    query = "storage=postgresql://host/db?user=ann&password=s3cret"
    assert without_password(query) == "storage=postgresql://host/db?user=ann"


def test_passwords_are_hidden(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = "postgresql+psycopg://ann:s3cr/e@t@host/db?password=s3cr"
    assert "s3cr" not in mistake(conf, "storag=postgresql://ann:s3cr@host/db")
    assert "s3cr" not in mistake(conf, "storage={postgresql://ann:s3cr@host/db")
    assert (
        run_command(print, dict, description="", conf=conf, argv=[f"storage={url.replace('/e@t', '')}", "--cfg", "job"])
        == 0
    )
    assert "s3cr" not in capsys.readouterr().out


def settings(**changed: Any) -> dict[str, Any]:
    groups: dict[str, Any] = {
        name: {}
        for name in ("space", "data", "train", "device", "objective", "sampler", "fidelity", "backend", "choices")
    }
    given = {
        "study": "s",
        "results_dir": "/r",
        "trials": 40,
        "seed": 0,
        "confirm": 0,
        "enqueue": [],
        "warm_start": [],
        "tracker": "none",
        "workers": None,
        "storage": None,
        "imports": [],
    }
    return groups | given | changed


def test_run_config_takes_one_module_as_a_list() -> None:
    assert RunConfig.from_mapping(settings(workers=3, imports="a.b")).imports == ("a.b",)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"trials": 0}, ["trials=0", "at least 1"]),
        ({"trials": 1.5}, ["trials=1.5", "whole number"]),
        ({"trials": True}, ["trials=True"]),
        ({"trials": {"choice": [1, 2]}}, ["trials="]),
        ({"seed": -1}, ["seed=-1", "from 0"]),
        ({"seed": 2**32}, ["seed="]),
        ({"workers": 0}, ["workers=0"]),
        ({"workers": "two"}, ["workers=two"]),
        ({"results_dir": ""}, ["results_dir"]),
        ({"storage": 3}, ["storage"]),
        ({"imports": [3]}, ["imports=[3]", "my_package.blocks"]),
        ({"space": "conv"}, ["space", "'conv'"]),
        ({"study": "../x"}, ["study"]),
        ({"trails": 3}, ["trails", "did you mean 'trials'"]),
    ],
)
def test_run_config_checks_each_setting(changed: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        RunConfig.from_mapping(settings(**changed))
    assert [word for word in words if word not in str(caught.value)] == []


def test_run_config_names_what_is_missing() -> None:
    config = settings()
    del config["seed"]
    with pytest.raises(InputError, match="seed is missing"):
        RunConfig.from_mapping(config)


def test_command_runs_every_job_after_all_were_checked(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seeds: list[int] = []

    def check(config: dict[str, Any]) -> int:
        if config["seed"] == 9:
            raise InputError("seed=9: unlucky")
        return int(config["seed"])

    assert run_command(seeds.append, check, description="", conf=conf, argv=["-m", "seed=1,2"]) == 0
    assert seeds == [1, 2]
    assert run_command(seeds.append, check, description="", conf=conf, argv=["-m", "seed=1,9"]) == 2
    assert seeds == [1, 2]
    assert capsys.readouterr().err == "error: seed=9: unlucky\n"


def test_command_turns_ends_into_statuses(conf: Path) -> None:
    def interrupted(config: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    def broken(config: dict[str, Any]) -> None:
        raise ZeroDivisionError

    assert run_command(interrupted, dict, description="", conf=conf, argv=[]) == 130
    assert run_command(lambda config: 3, dict, description="", conf=conf, argv=[]) == 3
    with pytest.raises(ZeroDivisionError):
        run_command(broken, dict, description="", conf=conf, argv=[])


def test_ctrl_c_amid_a_destructor_ends_the_command(conf: Path) -> None:
    """Python drops what a destructor raises, as it does in a weak reference's callback."""

    class Destroyed:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def interrupted(config: dict[str, Any]) -> None:
        Destroyed()
        time.sleep(60)

    def interrupted_last(config: dict[str, Any]) -> None:
        Destroyed()

    before, hook = signal.signal(signal.SIGINT, signal.default_int_handler), sys.unraisablehook
    try:
        for main in (interrupted, interrupted_last):
            assert run_command(main, dict, description="", conf=conf, argv=[]) == 130
        time.sleep(0.1)  # nothing comes after the command
    finally:
        signal.signal(signal.SIGINT, before)
    assert sys.unraisablehook is hook


def test_an_error_that_follows_from_ctrl_c_is_not_told_as_a_mistake(
    conf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As where what a library cleans up is half made; and a sweep does not go on with its next job."""
    started = []

    def interrupted(config: dict[str, Any]) -> None:
        started.append(config)
        try:
            raise KeyboardInterrupt
        finally:
            try:
                {}["half made"]
            except KeyError as error:
                raise InputError("config: 'half made'") from error

    assert run_command(interrupted, dict, description="", conf=conf, argv=["-m", "seed=1,2"]) == 130
    assert run_command(print, interrupted, description="", conf=conf, argv=[]) == 130
    assert len(started) == 2
    assert capsys.readouterr().err == ""


def test_help_shows_what_can_be_given(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(Path.cwd(), {"space/mine": "layers: []"})
    argv = ["--help", "--config-dir", "."]
    examples = ["python -m search.run seed=1"]
    assert run_command(print, dict, description="Search.", examples=examples, conf=conf, argv=argv) == 0
    text = capsys.readouterr().out
    for words in ("Search.", "mine  [mixed]  plain", "trials: 40", "--config-dir", *examples):
        assert words in text


def test_cfg_job_prints_yaml_that_reads_back(conf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--cfg", "job", "-m", "space.width_multiplier=0.5,0.75", "data=folder"]
    assert run_command(print, dict, description="", conf=conf, argv=argv) == 0
    first, second = capsys.readouterr().out.split("---\n")
    assert OmegaConf.create(first).space.width_multiplier == 0.5
    assert OmegaConf.create(second).space.width_multiplier == 0.75


def test_user_modules_are_imported_from_the_current_directory(conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path not in ("", os.getcwd())])
    (Path.cwd() / "my_own_package").mkdir()
    (Path.cwd() / "my_own_package" / "blocks.py").write_text("IMPORTED = True")
    import_user_modules(["my_own_package.blocks"])
    assert sys.modules["my_own_package.blocks"].IMPORTED is True


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ["no module", "my_blocks"]),
        ("import no_such_package_at_all", ["needs 'no_such_package_at_all'"]),
        ("\n\nx = 1 / 0", ["ZeroDivisionError", "my_blocks", "line 3"]),
        ("def f(:", ["SyntaxError"]),
    ],
)
def test_user_module_that_fails_is_explained(
    conf: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, words: list[str]
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "my_blocks", raising=False)
    if text is not None:
        Path("my_blocks.py").write_text(text)
    with pytest.raises(InputError) as caught:
        import_user_modules(["my_blocks"])
    assert [word for word in words if word not in str(caught.value)] == []


OPTIONS = sorted(
    f"{path.parent.name}={path.stem}"
    for path in CONF.glob("*/*.yaml")
    if path.parent.name in ("space", "data", "train", "objective", "sampler", "fidelity", "backend")
)


@pytest.mark.parametrize("option", OPTIONS)
def test_every_file_of_the_project_composes(option: str) -> None:
    group, _, name = option.partition("=")
    config = RunConfig.from_mapping(
        compose([option, *(["data.path=images"] if group == "data" and name != "digits" else [])])[0]
    )
    assert config.choices[group] == name


def test_files_are_found_from_a_hostile_directory(tmp_path: Path) -> None:
    (tmp_path / "conf.py").write_text("raise SystemExit('the wrong conf')")
    write(tmp_path / "conf", {"config": "trials: 1", "space/shuffle_agg": "wrong: true"})
    code = "from search.config import compose; print(compose([])[0]['trials'])"
    environment = os.environ | {"PYTHONPATH": str(CONF.parent)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("40\n", "")


ALIASES = "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["space.x=" + "[" * 5000], "50 deep"),
        (["space.x=" + "[" * 5000 + "]" * 5000], "50 deep"),
        (["space.x=" + "{a: " * 60 + "1" + "}" * 60], "50 deep"),
        (["space." + "a." * 500 + "a=1"], "50 deep"),
        (["seed=" + "9" * 6000], "that many digits"),
        (["space.layers.0.channels=" + "9" * 30], "space.layers.0.channels: a whole number beyond 64 bits"),
        (["space.layers." + "9" * 6000 + ".repeat=1"], "(0 to 1)"),
        (["space.x=${space.x}"], "space.x: references ${...} lead in a circle"),
        (["space.a=[${space.b}, ${space.b}]", "space.b=${space.a}"], "circle"),
        (["-m", "seed=range(1000000000)"], "1,000 jobs at most"),
        (["-m", "seed=shuffle(range(1000000000))"], "1,000 jobs at most"),
        (["-m", "seed=range(0, 1, 0)"], "1,000 jobs at most"),
        (["-m", "seed=range(50)", "trials=range(1,50)"], "-m: 2,450 jobs are too many"),
    ],
)
def test_what_grows_without_end_is_refused(conf: Path, argv: list[str], words: str) -> None:
    assert words in mistake(conf, *argv)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("layers: " + "[" * 5000 + "]" * 5000, "50 deep"),
        ("layers: &a [*a]", "alias *a"),
        (ALIASES, "too many"),
        ("x: '" + "${" * 50_000 + "'", "1,000 characters"),
        ("x: " + "9" * 6000, "6,000 characters"),
        ("", "empty"),
        ("layers: !!set {1}", "type set"),
    ],
)
def test_own_files_are_bounded_before_hydra_reads_them(conf: Path, text: str, words: str) -> None:
    write(Path.cwd(), {"space/mine": text})
    message = mistake(conf, "--config-dir", ".", "space=mine")
    assert "mine.yaml" in message
    assert words in message


def test_own_folder_may_have_any_name(conf: Path) -> None:
    folder = Path.cwd() / "my 'own' (old) [2], {x}=${y}"
    write(folder, {"space/mine": FILES["space/plain"]})
    assert one(conf, "--config-dir", str(folder), "space=mine")["space"]["layers"][0]["channels"] == 8


NAMES = [
    "a (b) [2]",
    "{x}",
    "it's",
    "'",
    '"',
    "a, b",
    "a=b",
    "$HOME",
    "#1",
    "-x",
    "é",
    "b\\c",
    "null!",
    "[x]y",
    "1e3",
    "(",
    "]",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_path_is_taken_as_typed(conf: Path, name: str) -> None:
    config = one(conf, f"results_dir={name}", "data=folder", f"data.path=/photos/{name}/x")
    assert config["results_dir"] == f"{Path.cwd()}/{name}"
    assert config["data"]["path"] == f"/photos/{name}/x"


def test_paths_in_lists_are_taken_as_typed() -> None:
    enqueue = "[mobilenet_v2, /a (b)/it's [2].yaml, '/x, y.yaml', {z}.yaml]"
    [config] = compose([f"enqueue={enqueue}", "warm_start=[2024, /s(1)]"])
    assert config["enqueue"] == ["mobilenet_v2", "/a (b)/it's [2].yaml", "/x, y.yaml", f"{Path.cwd()}/{{z}}.yaml"]
    assert config["warm_start"] == ["2024", "/s(1)"]
    [config] = compose(["enqueue=mine (1).yaml", "warm_start=[]"])
    assert (config["enqueue"], config["warm_start"]) == ([f"{Path.cwd()}/mine (1).yaml"], [])


def test_a_path_is_swept_over_still() -> None:
    jobs = read_jobs(["data.path=/a,/b"], {}, sweep=True)
    assert [override.value for [override] in jobs] == ["/a", "/b"]
    assert compose(["-m", "data=folder", "data.path=/a (1)"])[0]["data"]["path"] == "/a (1)"
