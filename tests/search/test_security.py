"""What a user, a download, a study or a table supplies is data: nothing of it is run, and nothing secret gets out."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from search.evaluation import checkpoint
from search.trials.refusals import storage_reason
from search.trials.storage import open_storage
from spaces import InputError
from spaces.reference import read_yaml

from .postgres import PASSWORD, Server
from .test_run import QUICK, TINY, run

ROOT = Path(__file__).resolve().parents[2]


OWN_FUNCTION = ("user_function.py", "pickle.loads")
"""A worker reads the function that its driver has packed for it; neither a study nor a downloaded file holds one."""


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Every call in the project's code but `OWN_FUNCTION`, by what is called as it is written."""
    for path in [*ROOT.glob("search/**/*.py"), *ROOT.glob("spaces/**/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and (path.name, ast.unparse(node.func)) != OWN_FUNCTION:
                yield ast.unparse(node.func), node


def test_nothing_is_evaluated_or_unpickled() -> None:
    refused = {"eval", "exec", "compile", "__import__", "os.system", "pickle.load", "pickle.loads", "cloudpickle.load"}
    refused |= {"cloudpickle.loads", "joblib.load", "pd.read_pickle", "yaml.load", "yaml.unsafe_load", "yaml.full_load"}
    for name, call in calls():
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert name not in refused, f"{name}, line {call.lineno}"
        assert name != "torch.load" or options.get("weights_only") == "True"
        assert "allow_pickle" not in options or options["allow_pickle"] == "False"
        assert options.get("shell", "False") == "False"


class Payload:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.mkdir, (str(self.path), 0o700)


def test_a_checkpoint_that_carries_code_is_refused_and_not_run(tmp_path: Path) -> None:
    path, mark = tmp_path / "state.pt", tmp_path / "mark"
    torch.save({"network": Payload(mark)}, path)
    with pytest.raises(InputError, match="not a checkpoint"):
        checkpoint.load(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "text",
    [
        "layers: ${oc.env:HOME}",
        "layers: [{block: conv, channels: '${oc.decode:1}'}]",
        "layers: ${any_resolver:1,2}",
        "layers: !!python/object/apply:os.mkdir [mark]",
    ],
)
def test_a_downloaded_network_reads_nothing_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "network.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"network\.yaml"):
        read_yaml(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["network.yaml"]


def test_a_reference_inside_a_network_file_still_works(tmp_path: Path) -> None:
    path = tmp_path / "network.yaml"
    path.write_text("width: 8\nlayers: [{block: conv, channels: '${width}'}]")
    assert read_yaml(path)["layers"][0]["channels"] == 8


def test_a_password_on_the_command_line_goes_nowhere(tmp_path: Path) -> None:
    """It should not be there at all: PGPASSWORD and PGPASSFILE are the ways; but people do it."""
    pytest.importorskip("psycopg")
    server = Server()
    try:
        (tmp_path / "own" / "space").mkdir(parents=True)
        (tmp_path / "own" / "space" / "tiny.yaml").write_text(TINY)
        url = server.url.replace("team@", f"team:{PASSWORD}@")
        options = [*QUICK[:-1], "trials=1", "workers=1", "confirm=0", "-m", "seed=0,1", f"storage={url}"]
        said = run(tmp_path, *options)
        said += run(tmp_path, *options, "--cfg", "job")
        said += run(tmp_path, *options, "space.width_multiplier=1", f"storage={url}x", status=2)
        said += run(tmp_path, *options[:-3], "seed=0,1", f"storage={url}", status=2)  # a sweep without -m
        wrong = server.url.replace("team@", f"team:not-{PASSWORD}@")
        said += run(tmp_path, *options[:-1], f"storage={wrong}", status=2)
        assert "***" in said
        assert PASSWORD not in said
        for path in (tmp_path / "results").rglob("*"):
            assert not path.is_file() or PASSWORD.encode() not in path.read_bytes(), path
        dump = (server.folder / "data").rglob("*")
        assert not any(PASSWORD.encode() in path.read_bytes() for path in dump if path.is_file())
    finally:
        server.close()


def test_a_databases_own_words_carry_no_password() -> None:
    error = ConnectionError("cannot reach postgresql://ann:s3cret@host/db?password=s3cret")
    assert "s3cret" not in storage_reason(error)
    with pytest.raises(InputError) as raised:
        open_storage(Path(), "oracle://ann:s3cret@host/db")
    assert "s3cret" not in str(raised.value)
