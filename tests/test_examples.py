"""What the examples claim, with fewer networks and steps."""

import json
from pathlib import Path

import pytest
import torch

import attribution_prior
import concepts_textures
import ensemble
import feature_selection
import graph
import mislabelled
import photograph
import shapley_tabular
import splice_site
import time_series
import why_this_training_example

EXAMPLES = Path(__file__).parent.parent / "examples"


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


def test_shapley_estimates_converge(tmp_path, capsys):
    result = shapley_tabular.main(["--output", str(tmp_path), "--seeds", "4"])
    for errors in result.errors.values():
        assert errors[-1] < 0.4 * errors[0]
    random, antithetic = (result.errors[f"permutations, {name}"] for name in ("random", "antithetic"))
    assert (result.errors["kernel SHAP"] < antithetic).all()
    assert (antithetic[2:] < random[2:]).all()
    assert (result.reported / antithetic[1:] - 1).abs().max() < 0.5
    assert result.gap < 1e-4
    assert "error after 120 evaluations" in capsys.readouterr().out
    for name in ("convergence", "interactions"):
        assert (tmp_path / f"shapley_{name}.png").stat().st_size > 10_000


def test_wrong_labels_come_first(tmp_path, capsys):
    result = mislabelled.main(["--output", str(tmp_path), "--images", "600", "--steps", "600"])
    assert result.auc["self-influence"] > 0.95
    assert result.found["self-influence"] > result.found["loss at the end"]
    assert "area under the curve" in capsys.readouterr().out
    assert (tmp_path / "mislabelled.png").stat().st_size > 10_000


def test_influence_predicts_retraining(tmp_path, capsys):
    result = why_this_training_example.main(["--output", str(tmp_path), "--queries", "2", "--subsets", "40"])
    assert result.scores.shape == (result.queries, 400)
    assert result.lds["EK-FAC"].mean > 0.7
    assert result.lds["EK-FAC"].interval[0] > result.lds["TracIn"].interval[1] > result.lds["similar"].mean
    assert "trainings in one program" in capsys.readouterr().out
    assert (tmp_path / "why_this_training_example.png").stat().st_size > 10_000


@pytest.mark.parametrize(("example", "option"), [(attribution_prior, "--seeds"), (ensemble, "--members")])
def test_one_network_has_no_spread(example, option, capsys):
    with pytest.raises(SystemExit):
        example.main([option, "1"])
    assert "at least 2" in capsys.readouterr().err


def test_four_photographs(tmp_path, capsys):
    gaps = photograph.main(["--output", str(tmp_path), "--steps", "4"])
    assert gaps["DeepLIFT"].abs().max() < 1e-3
    assert "DeepLIFT misses" in capsys.readouterr().out
    assert (tmp_path / "photograph.png").stat().st_size > 50_000


def test_gates_close_as_the_penalty_grows(tmp_path, capsys):
    found = feature_selection.main(["--output", str(tmp_path)])
    counts = (found.gates > 0).sum(1)
    assert (counts[1:] <= counts[:-1] + 1).all()
    assert counts[0] > 20
    few = (counts >= 1) & (counts <= 6)
    assert found.accuracy[few].max() > found.accuracy.max() - 0.04
    assert "The last to close" in capsys.readouterr().out
    assert (tmp_path / "feature_selection.png").stat().st_size > 10_000


@pytest.mark.real
def test_stripes_speak_for_a_zebra(tmp_path, capsys):
    tests = concepts_textures.main(["--output", str(tmp_path), "--sets", "4"])
    stripes, dots, checks = tests["zebra"].mean
    assert stripes > 2 * max(dots, checks, 0)
    assert "| stripes |" in capsys.readouterr().out
    assert (tmp_path / "concepts_textures.png").stat().st_size > 10_000


def test_shares_of_a_graph_end_two_steps_away(tmp_path, capsys):
    found = graph.main(["--output", str(tmp_path)])
    far = [node for node in range(34) if node not in found.near]
    assert far
    assert not found.shares[far].any()
    assert (found.shares[sorted(found.near)] != 0).all()
    assert abs(found.gap) < 1e-3
    assert found.accuracy > 0.9
    assert "member 8" in capsys.readouterr().out
    assert (tmp_path / "graph.png").stat().st_size > 5_000


def test_steps_that_matter_are_found(tmp_path, capsys):
    found = time_series.main(["--output", str(tmp_path), "--steps", "100"])
    assert found.accuracy > 0.85
    assert len(found.lost) == 3
    assert all(lost > 3 * found.by_chance for lost in found.lost.values())
    assert "are told right" in capsys.readouterr().out
    assert (tmp_path / "time_series.png").stat().st_size > 10_000


def test_the_notebook_runs():
    notebook = json.loads((EXAMPLES / "tour.ipynb").read_text())
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell.get("outputs") for cell in notebook["cells"])
    names: dict = {}
    for cell in cells:
        exec(compile(cell, "tour.ipynb", "exec"), names)
    assert names["accuracy"] > 0.9
    assert names["gap"] < 1e-3
    torch.testing.assert_close(
        names["classes"][names["labels"][1400]], names["found"]["integrated gradients"][:1], rtol=0, atol=0.2
    )


def test_splice_sites_are_read_by_their_letters(tmp_path, capsys):
    found = splice_site.main(["--output", str(tmp_path)])
    assert min(found.probabilities) > 0.9
    assert found.strongest == ("GT", "AG")
    assert found.gap < 1e-3
    assert found.costs.topk(2).indices.sort().values.tolist() == [splice_site.NEAR, splice_site.NEAR + 1]
    assert "DeepLIFT misses" in capsys.readouterr().out
    assert (tmp_path / "splice_site.png").stat().st_size > 5_000
