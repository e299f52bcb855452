"""Several studies side by side, as numbers."""

import numpy as np
import pytest

from search.reporting.figures import draw_bands, draw_fronts, gather_comparison
from search.reporting.record import Record
from search.reporting.tables import front, table_hypervolume, trials_frame
from tests.search.reporting.fake import HOSTILE, RECORD_INFO, fake_record


def test_studies_share_a_reference_and_seeds_a_band() -> None:
    records = [fake_record(n, seed, f"digits-seed={seed}") for seed, n in ((0, 30), (1, 40))]
    other = fake_record(20, 2, HOSTILE)
    other = Record(other.trials, other.info, {**other.config, "imports": ["mine"]}, spans=other.spans)
    info = gather_comparison([*records, other])
    assert [study.name for study in info.studies] == ["digits-seed=0", "digits-seed=1", HOSTILE]
    for study, record in zip(info.studies, [*records, other], strict=True):
        assert study.front.numbers == front(record.trials, "flops")["number"].tolist()
        assert study.volume == pytest.approx(table_hypervolume(record.trials, record.info))
    seeds, single = info.bands
    assert seeds.studies == ["digits-seed=0", "digits-seed=1"]
    assert seeds.label == "digits (2 seeds)"
    assert np.allclose(seeds.middle, (np.array(seeds.low) + np.array(seeds.high)) / 2)  # of two, the median is the mean
    assert seeds.low[-1] <= min(study.volume for study in info.studies[:2])
    assert single.middle == single.low == single.high
    assert single.middle[-1] == pytest.approx(info.studies[2].volume)

    lines = draw_fronts(info).data
    assert [list(line.customdata)[:-1] for line in lines] == [study.front.numbers for study in info.studies]
    assert len({(line.line.dash, line.marker.symbol) for line in lines}) == 3
    assert "<script" not in str(lines)
    assert [trace.meta for trace in draw_bands(info).data] == ["high:0", "low:0", "band:0", "band:1"]


def test_an_empty_study_can_be_compared() -> None:
    empty = Record(trials_frame([], []), RECORD_INFO)
    info = gather_comparison([empty, fake_record(12)])
    assert info.studies[0].best_accuracy is None
    assert info.bands[0].middle == []
    assert len(draw_fronts(info).data) == 2
    draw_bands(info)
