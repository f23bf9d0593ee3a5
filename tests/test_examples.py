"""What the examples claim, with fewer networks and steps."""

import pytest

import attribution_prior
import ensemble


def test_the_prior_keeps_the_network_off_the_stamp(tmp_path, capsys):
    plain, priors, ceiling = attribution_prior.main(["--output", str(tmp_path), "--seeds", "2", "--steps", "200"])
    best = priors[0]
    assert all(best.validation_accuracy.mean() >= other.validation_accuracy.mean() for other in priors)
    # For each seed, not only on average.
    assert (plain.stamp_share > 10 * best.stamp_share).all()
    assert (plain.test_accuracy + 0.4 < best.test_accuracy).all()
    assert (best.test_accuracy > ceiling.test_accuracy - 0.05).all()
    assert "points of test accuracy" in capsys.readouterr().out
    assert (tmp_path / "attribution_prior.png").stat().st_size > 10_000


def test_the_ensemble_in_one_call_equals_a_loop(tmp_path, capsys):
    result = ensemble.main(["--output", str(tmp_path), "--members", "4", "--steps", "100"])
    assert result.attributions.shape == (4, 169, 30)
    assert result.difference < 1e-5
    assert result.gap < 1e-3
    assert (result.accuracy > 0.9).all()
    assert not result.attributions[0].equal(result.attributions[1])
    assert "agree on the sign" in capsys.readouterr().out
    assert (tmp_path / "ensemble.png").stat().st_size > 10_000


@pytest.mark.parametrize(("example", "option"), [(attribution_prior, "--seeds"), (ensemble, "--members")])
def test_one_network_has_no_spread(example, option, capsys):
    with pytest.raises(SystemExit):
        example.main([option, "1"])
    assert "at least 2" in capsys.readouterr().err
