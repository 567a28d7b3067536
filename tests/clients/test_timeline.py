from fractions import Fraction

import pytest

from clients.video.timeline import Timeline


@pytest.mark.parametrize(
    ("clocks", "times"),
    [
        ([0, 0.033, 0.6, 2.166], [0, 0.033, 0.6, 2.166]),
        # The clock begins anywhere.
        ([5, 5.04, 5.08], [0, 0.04, 0.08]),
        ([-1, -0.96], [0, 0.04]),
        # It is set anew: what follows goes on where it was.
        ([10, 10.04, 0, 0.04, 3], [0, 0.04, 0.08, 0.12, 3.08]),
        # A silence stays; a time that is rounded twice does not run back.
        ([0, 3600, 3599.99, 3600.04], [0, 3600, 3600, 3600.04]),
        # Pictures without a time stand at the rate's next.
        ([None, None, None], [0, 0.04, 0.08]),
        ([0, None, 0.08], [0, 0.04, 0.08]),
        ([None, 7, 7.5], [0, 0.04, 0.54]),
    ],
)
def test_where_pictures_stand(clocks: list[float | None], times: list[float]) -> None:
    timeline = Timeline(Fraction(25))
    found = [
        timeline.place(None if clock is None else Fraction(clock).limit_denominator(1000))
        for clock in clocks
    ]
    assert [float(each) for each in found] == pytest.approx(times)
