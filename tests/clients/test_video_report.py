import pytest

from clients.errors import FrameError
from clients.video.report import VideoReport


def test_percentiles():
    report = VideoReport()
    for milliseconds in range(101):
        report.add(milliseconds / 1000, None)
    assert report.percentile(50) == pytest.approx(0.050)
    assert report.percentile(95) == pytest.approx(0.095)
    assert report.percentile(99) == pytest.approx(0.099)


def test_the_summary_line():
    report = VideoReport(seconds=2.0)
    report.add(0.010, None)
    report.add(0.010, None)
    assert str(report) == (
        "2 frames in 2.0 s (1.0 frames/s), latency p50/p95/p99 10.0/10.0/10.0 ms, 0 failed"
    )
    report.add(0.010, FrameError("bad", 422))
    report.add(0.010, FrameError("worse", 500))
    assert str(report).endswith("2 failed; first: bad (error 422)")


def test_no_frames():
    assert str(VideoReport()).startswith("0 frames in 0.0 s (0.0 frames/s)")


def test_the_clock():
    report = VideoReport()
    report.start()
    report.stop()
    assert 0 < report.seconds < 1
