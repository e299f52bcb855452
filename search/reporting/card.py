"""The model card of a trained network: what it is, how good, what it costs, what its images must be, how to make it again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from search.data.decoding import BLACK
from search.objective.costs import BUILT_IN
from search.reporting.text import duration

if TYPE_CHECKING:
    from search.evaluation.trained_folder import TrainingRecord

MAX_CLASSES = 30
"""More class names than these are not listed; results.json has them all."""


def plus_minus(mean: float, deviation: float | None) -> str:
    """An accuracy with its standard deviation: "96.38% ± 0.12"."""
    return f"{100 * mean:.2f}%" + ("" if deviation is None else f" ± {100 * deviation:.2f}")


def model_card(record: TrainingRecord) -> str:
    """The card as Markdown, of a record with one training at least."""
    title = f"# {plain(record.network)}\n\n{_opening(record)}"
    parts = [
        title,
        _results(record),
        _costs(record),
        _data(record),
        _preprocessing(record),
        _training(record),
        _use(record),
        _reproduce(record),
    ]
    return "\n\n".join(parts) + "\n"


def _opening(record: TrainingRecord) -> str:
    images = record.images
    height, width = record.architecture["resolution"]
    seeds = "" if len(record.trainings) == 1 else f", mean ± standard deviation of {len(record.trainings)} trainings"
    top5 = ""
    if record.trainings[0].accuracy_top5 is not None:
        top5 = f" (top-5 {plus_minus(*record.accuracy('accuracy_top5'))})"
    return (
        f"A convolutional network that tells {len(images['class_names'])} classes of {height}x{width} images apart: "
        f"**{plus_minus(*record.accuracy())}**{top5} of {images['sizes']['test']:,} test images of {plain(images['name'])}{seeds}."
    )


def _results(record: TrainingRecord) -> str:
    has_top5 = record.trainings[0].accuracy_top5 is not None
    head = [
        "seed",
        "test top-1",
        *(["test top-5"] if has_top5 else []),
        "last epoch's training images",
        "time",
        "weights",
    ]
    rows = []
    for one in record.trainings:
        top5 = [f"{100 * (one.accuracy_top5 or 0):.2f}%"] if has_top5 else []
        figures = [f"{100 * one.accuracy:.2f}%", *top5, f"{100 * one.train_accuracy:.2f}%"]
        rows.append([str(one.seed), *figures, duration(one.seconds), f"`{one.weights}`"])
    note = (
        "The weights are those of the last epoch, measured on the test images when the training had ended; neither the search nor "
        "the training chose anything by them."
    )
    return f"## Results\n\n{_table(head, rows)}\n\n{note}"


def _costs(record: TrainingRecord) -> str:
    rows = [[BUILT_IN[name].label, f"{value:,.0f}"] for name, value in record.costs.items()]
    rows.append(["Weights as float32 (MB)", f"{4 * record.costs['params'] / 1e6:.3f}"])
    latency = record.latency
    if latency is None:
        rows.append(["Latency", "not measured"])
    else:
        unsteady = "" if latency["steady"] else "; something else was running, take it with care"
        figure = f"{latency['median_ms']:.4g} ms ± {latency['iqr_ms'] / 2:.2g} (median, ± half the interquartile range{unsteady})"
        rows.append(["Latency", f"{figure} on {plain(latency['device'])}"])
    return f"## Costs of one image\n\n{_table(['cost', 'value'], rows)}"


def _data(record: TrainingRecord) -> str:
    images, sizes = record.images, record.images["sizes"]
    names = images["class_names"]
    listed = ", ".join(map(plain, names[:MAX_CLASSES])) + (", ..." if len(names) > MAX_CLASSES else "")
    limited = record.data.get("limit") is not None
    which = (
        "all but the test images" if not limited else "those of the search, limited as below, and all that it held out"
    )
    settings = ", ".join(f"{key} {value}" for key, value in record.data.items() if value is not None)
    rows = [
        ["data set", plain(images["name"])],
        ["fingerprint of the training images", f"`{images['fingerprint']}`"],
        ["trained on", f"{sizes['train']:,} images: {which}"],
        ["tested on", f"{sizes['test']:,} images"],
        ["classes", listed],
        ["settings", plain(settings)],
    ]
    return f"## Data\n\n{_table(['', ''], rows)}"


def _preprocessing(record: TrainingRecord) -> str:
    steps = preprocessing(record.images, record.architecture["resolution"])
    return "## Preprocessing\n\n" + "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))


def preprocessing(images: Mapping[str, Any], resolution: Sequence[int]) -> list[str]:
    """What is done to an image before it reaches the network, step by step.

    Args:
        images: as `search.evaluation.trained_folder.describe_images` gives it.
        resolution: (height, width) in pixels that the network takes.
    """
    colour = "grey (one channel)" if images["in_channels"] == 1 else "RGB (three channels)"
    height, width = images["resolution"]
    # records of earlier versions have neither key
    behind = {BLACK: ", transparent pixels over black", None: ""}.get(
        images.get("backdrop"), ", transparent pixels over white"
    )
    depth = images.get("depth")
    deep = []
    if depth is not None:
        kind = "floats" if depth[0] else "integers of more than 8 bits"
        deep = [f"Map {kind} from {depth[1]:g}..{depth[2]:g} to 0..255, cut off what lies outside, and round."]
    steps = [
        *deep,
        f"Decode to {colour}, 8 bits a channel, upright (EXIF){behind}.",
        f"Scale to cover {height}x{width} (height x width) pixels, bilinear, and cut at the centre.",
    ]
    if list(resolution) != list(images["resolution"]):
        steps.append(f"Scale to {resolution[0]}x{resolution[1]}, bilinear, antialiased where it shrinks; round.")
    mean, std = (f"[{', '.join(f'{value:.6f}' for value in images[key])}]" for key in ("mean", "std"))
    steps.append(
        f"Divide by 255, subtract the mean {mean} and divide by the standard deviation {std}, channel by channel."
    )
    steps.append("Lay out as (images, channels, height, width), float32. The class is the greatest of the outputs.")
    return steps


def _training(record: TrainingRecord) -> str:
    augment = "shifted by up to an eighth, mirrored" if record.images["augment"] else "none"
    seen = record.train["epochs"] * record.images["sizes"]["train"]
    rows = [[key, str(value)] for key, value in record.train.items()]
    rows += [["augmentation", augment], ["images seen", f"{seen:,}"]]
    rows += [[key, plain(value)] for key, value in record.machine.items()]
    return f"## Training\n\nFrom scratch, the same for every seed.\n\n{_table(['setting', 'value'], rows)}"


def _use(record: TrainingRecord) -> str:
    imports = "".join(f"import {module}  # brings its blocks\n" for module in record.imports)
    height, width = record.architecture["resolution"]
    shape = f"(1, {record.architecture['in_channels']}, {height}, {width})"
    text = (
        "## Use\n\n```python\nimport torch\nfrom safetensors.torch import load_file\n"
        f"from spaces import build, decode\nfrom spaces.reference import read_yaml\n{imports}\n"
        'network = build(decode(read_yaml("network.yaml")))\n'
        f'network.load_state_dict(load_file("{record.trainings[0].weights}"))\n'
        f"logits = network.eval()(torch.zeros{shape})\n```"
    )
    if record.export is None:
        return text
    export = record.export
    latency = export["latency"]
    same = export["accuracy_then"] == export["accuracy_torch"]
    then = "" if same else f", at the end of its training {100 * export['accuracy_then']:.2f}%"
    ties = f"; {export['ties']} images are ties within that" if export["ties"] else ""
    rounding = f"; {rounding_in_words(export['rounding'])}" if export.get("rounding") else ""
    rows = [
        ["file", f"`{plain(export['file'])}`, opset {export['opset']}, input `image`, output `logits`, any batch"],
        ["weights", f"`{export['weights']}`"],
        [
            "greatest difference from PyTorch",
            f"{export['difference']:.2g}, {export['relative']:.2g} of the image's greatest output, on {export['images']:,} images"
            + rounding,
        ],
        [
            "test top-1 of the file",
            f"{100 * export['accuracy']:.2f}%, PyTorch's {100 * export['accuracy_torch']:.2f}%{then}{ties}",
        ],
        ["size (MB)", f"{export['bytes'] / 1e6:.3f}"],
    ]
    if latency is not None:
        care = "" if latency["steady"] else " (something else was running, take it with care)"
        figure = f"{latency['median_ms']:.4g} ms ± {latency['iqr_ms'] / 2:.2g}{care}"
        rows.append(["latency", f"{figure} on {plain(latency['device'])}"])
    code = (
        "```python\nimport numpy as np\nimport onnxruntime\n\n"
        f'session = onnxruntime.InferenceSession("{export["file"]}")\n'
        f'[logits] = session.run(["logits"], {{"image": np.zeros({shape}, np.float32)}})\n```'
    )
    about = "The preprocessing is in the file's metadata too, under names of its own: mean, std, class_names, ..."
    return f"{text}\n\n## ONNX\n\n{_table(['', ''], rows)}\n\n{about}\n\n{code}"


def rounding_in_words(rounding: Mapping[str, float]) -> str:
    """Why a file may differ by more than the usual tolerance: what `search.latency.onnx_file.verify` found of rounding."""
    return (
        f"float32 is no more exact for this network: from PyTorch in float64 the file differs by {rounding['file']:.2g}, "
        f"PyTorch itself by {rounding['torch']:.2g} of the outputs' size"
    )


def _reproduce(record: TrainingRecord) -> str:
    lines = [record.command, *([record.export["command"]] if record.export is not None else [])]
    where = "network.yaml beside this card is the network."
    return "## Reproduce\n\n```sh\n" + "\n".join(lines) + f"\n```\n\n{where}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def plain(text: str) -> str:
    """Text that stays text in a cell of Markdown: on one line, nothing in it marks up."""
    escaped = "".join(f"\\{char}" if char in "\\`*[]<>|" else char for char in str(text))
    return " ".join(escaped.split())
