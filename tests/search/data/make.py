"""Small data sets made by the tests, and what is in a loaded one."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from PIL import Image

from search.data import Data
from search.data.images import Held


def picture(level: int, size: tuple[int, int] = (12, 12), mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Noise around a level, (height, width) pixels."""
    noise = np.random.default_rng([seed, level]).integers(-20, 20, (*size, 3)) + level
    return Image.fromarray(noise.clip(0, 255).astype(np.uint8)).convert(mode)


def encoded(image: Image.Image, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, form)
    return file.getvalue()


def make_folder(root: Path, classes: Mapping[str, int], count: int = 10, **options: Any) -> Path:
    """Class folders with `count` images each, around the class's level."""
    for name, level in classes.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            picture(level, seed=i, **options).save(root / name / f"{i}.png")
    return root


def make_parquet(file: Path, columns: Mapping[str, Any], features: datasets.Features | None = None) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(dict(columns), features=features).to_parquet(file)
    return file


def rows(count: int = 20, classes: int = 2) -> dict[str, list[Any]]:
    images = [{"bytes": encoded(picture(40 + 60 * (i % classes), seed=i)), "path": None} for i in range(count)]
    return {"image": images, "label": [i % classes for i in range(count)]}


def pixels(data: Data, split: str) -> np.ndarray:
    images = data.splits[split]
    assert isinstance(images, Held)
    return np.asarray(images.pixels)


def epoch(data: Data, seed: int = 0, batch_size: int = 8, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    batches = list(data.batches("train", batch_size, generator=generator, train=True, **options))
    return torch.cat([x for x, _ in batches]), torch.cat([labels for _, labels in batches])
