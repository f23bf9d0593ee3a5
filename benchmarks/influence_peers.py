"""Training-data influence beside dattri, kronfluence and traker: the same network, data and subsets for all of them.

A digits MLP (64-24-10, tanh), trained to its optimum with weight decay 0.01 on 400 examples; 50 queries. What scores
are worth is the linear datamodelling score: the rank correlation, over 100 halves of the data, between the sum of their
scores and what retraining on them gives. Seconds are those of the whole job, curvature included. Each peer has the
damping with which its scores are worth most, or that of the others; Kronecker factors draw one label for each example,
as kronfluence does; projections are to 512 numbers.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import attrfunc as af

DECAY = 1e-2
HIGHER = 3e-2
"""Above the most negative eigenvalue of the Hessian."""
RIDGE = 100.0
"""Of TRAK; peers divide gradients by the root of the number of parameters, and traker projects to another scale."""
ROWS, QUERIES, SUBSETS = 400, 50, 100
SKETCH = 512


def loss(model: Any, batch: Any) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1], reduction="none")


def margin(model: Any, batch: Any) -> Tensor:
    """`log p - log (1 - p)` of the label."""
    logits = model(batch[0])
    others = logits.masked_fill(F.one_hot(batch[1], logits.shape[1]).bool(), float("-inf"))
    return logits.gather(1, batch[1].unsqueeze(1)).squeeze(1) - others.logsumexp(1)


@dataclass(frozen=True)
class Digits:
    """A trained network, its data, and what retraining on halves of it gives."""

    model: nn.Module
    train: TensorDataset
    queries: TensorDataset
    masks: Tensor
    losses: Tensor
    margins: Tensor

    @property
    def loader(self) -> DataLoader[Any]:
        """All examples in one batch: dattri adds up the inverses of batches' Hessians."""
        return DataLoader(self.train, ROWS)

    @property
    def asked(self) -> Any:
        return self.queries.tensors


def trained(subsets: int = SUBSETS) -> Digits:
    """Full-batch training with momentum, the same from the same start for each half."""
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    x, y = torch.tensor(images / 16, dtype=torch.float32)[order], torch.tensor(labels)[order]
    train, asked = (x[:ROWS], y[:ROWS]), (x[ROWS : ROWS + QUERIES], y[ROWS : ROWS + QUERIES])
    skeleton = nn.Sequential(nn.Linear(64, 24), nn.Tanh(), nn.Linear(24, 10)).eval()
    generator = torch.Generator().manual_seed(1)
    start = {
        name: torch.randn(value.shape, generator=generator) * (value.shape[-1] ** -0.5 if value.dim() > 1 else 0)
        for name, value in skeleton.named_parameters()
    }

    def fitted(weights: Tensor) -> dict[str, Tensor]:
        def objective(state: dict[str, Tensor]) -> Tensor:
            call = lambda given: torch.func.functional_call(skeleton, state, (given,))  # noqa: E731
            decay = sum((value.square().sum() for value in state.values()), torch.zeros(()))
            return (weights * loss(call, train)).sum() / ROWS + DECAY / 2 * decay

        state, speed = start, {name: torch.zeros_like(value) for name, value in start.items()}
        for _ in range(300):
            slopes = torch.func.grad(objective)(state)
            speed = {name: 0.9 * speed[name] + slopes[name] for name in state}
            state = {name: state[name] - 0.2 * speed[name] for name in state}
        return state

    def told(weights: Tensor) -> tuple[Tensor, Tensor]:
        state = fitted(weights)
        call = lambda given: torch.func.functional_call(skeleton, state, (given,))  # noqa: E731
        return -loss(call, asked), margin(call, asked)

    masks = (torch.rand(subsets, ROWS, generator=torch.Generator().manual_seed(2)) < 0.5).float()
    losses, margins = af.influence.retrain(told, masks, chunk_size=25)
    skeleton.load_state_dict({name: value.detach() for name, value in fitted(torch.ones(ROWS)).items()})
    return Digits(skeleton, TensorDataset(*train), TensorDataset(*asked), masks, losses, margins)


@dataclass(frozen=True)
class Row:
    """One comparison: scores `(Q, N)` of both, and what they are to tell."""

    name: str
    peer: str
    ours: Callable[[], Tensor]
    theirs: Callable[[], Tensor]
    truth: Tensor


def rows(digits: Digits) -> list[Row]:
    """All comparisons."""
    return [*_dattri(digits), *_kronfluence(digits), _traker(digits)]


def _curved(digits: Digits, make: Callable[..., Any], **options: Any) -> Callable[[], Tensor]:
    """Our influence function with a curvature."""

    def scores() -> Tensor:
        given: dict[str, Any] = {"damping": DECAY, **options}
        curvature = make(digits.model, digits.loader, loss=loss, **given)
        return af.influence.influence_function(
            digits.model, digits.asked, data=digits.loader, loss=loss, curvature=curvature
        )

    return scores


def _drawn(make: Callable[..., Any]) -> Callable[..., Any]:
    """A curvature with one label drawn for each example."""
    return lambda *args, **options: make(*args, samples=1, generator=torch.Generator().manual_seed(0), **options)


def _trak(digits: Digits) -> Tensor:
    sketch = af.influence.count_sketch(SKETCH, generator=torch.Generator().manual_seed(0))
    return af.influence.trak(
        digits.model, digits.asked, data=digits.loader, loss=loss, measure=margin, sketch=sketch, ridge=RIDGE
    )


def _dattri(digits: Digits) -> Iterator[Row]:
    """dattri's attributors."""
    from dattri.algorithm import influence_function as algorithms
    from dattri.algorithm.tracin import TracInAttributor
    from dattri.algorithm.trak import TRAKAttributor
    from dattri.task import AttributionTask

    model, asked = digits.model, DataLoader(digits.queries, QUERIES)

    def objective(parameters: dict[str, Tensor], batch: Any) -> Tensor:
        x, y = batch
        logits = torch.func.functional_call(model, parameters, (x,))
        return F.cross_entropy(logits.reshape(-1, 10), y.reshape(-1))

    def task(function: Callable[..., Tensor] = objective) -> Any:
        state = {name: value.clone() for name, value in model.state_dict().items()}
        return AttributionTask(loss_func=function, model=model, checkpoints=state)

    def by(kind: Any, **options: Any) -> Callable[[], Tensor]:
        def scores() -> Tensor:
            attributor = kind(task(), device="cpu", **options)
            attributor.cache(digits.loader)
            return attributor.attribute(digits.loader, asked).T.detach()

        return scores

    def tracin() -> Tensor:
        attributor = TracInAttributor(task(), weight_list=torch.ones(1), normalized_grad=False)
        attributor.projector_kwargs = None  # gradients as they are: its argument cannot say so
        return attributor.attribute(digits.loader, asked).T

    plain = lambda: af.influence.tracin(model, digits.asked, data=digits.loader, loss=loss)  # noqa: E731
    yield Row("Inner products of gradients", "dattri TracIn", plain, tracin, digits.losses)
    pairs = [
        ("Whole Hessian", af.influence.hessian, "IFAttributorExplicit",
         {"regularization": HIGHER}, {"damping": HIGHER}),
        ("Conjugate gradients", af.influence.cg, "IFAttributorCG",
         {"regularization": HIGHER, "max_iter": 100, "tol": 1e-3, "mode": "rev-fwd"},
         {"damping": HIGHER, "of": "hessian", "tolerance": 1e-3}),
        ("Krylov space of 100", af.influence.lanczos, "IFAttributorArnoldi",
         {"regularization": HIGHER, "proj_dim": 100, "max_iter": 100}, {"damping": HIGHER, "rank": 100, "steps": 100}),
        ("DataInf", af.influence.datainf, "IFAttributorDataInf", {"regularization": DECAY}, {}),
        ("EK-FAC", _drawn(af.influence.ekfac), "IFAttributorEKFAC", {"damping": DECAY}, {}),
    ]  # fmt: skip
    for name, make, kind, theirs, ours in pairs:
        found = by(getattr(algorithms, kind), **theirs)
        yield Row(name, f"dattri {kind}", _curved(digits, make, **ours), found, digits.losses)

    def right(parameters: dict[str, Tensor], pair: Any) -> Tensor:
        logits = torch.func.functional_call(model, parameters, (pair[0].unsqueeze(0),))
        return (-F.cross_entropy(logits, pair[1].unsqueeze(0))).exp()

    def margins(parameters: dict[str, Tensor], pair: Any) -> Tensor:
        call = lambda x: torch.func.functional_call(model, parameters, (x,))  # noqa: E731
        value = -loss(call, (pair[0].unsqueeze(0), pair[1].unsqueeze(0)))
        return (value - (1 - value.exp()).log()).squeeze(0)

    def trak() -> Tensor:
        options = {"proj_dim": SKETCH, "proj_max_batch_size": 32, "proj_seed": 0, "device": "cpu"}
        scale = RIDGE / sum(value.numel() for value in model.parameters())
        attributor = TRAKAttributor(
            task(margins), correct_probability_func=right, projector_kwargs=options, regularization=scale
        )
        attributor.cache(digits.loader)
        return attributor.attribute(asked).T.detach()

    yield Row("TRAK, one model", "dattri TRAK", lambda: _trak(digits), trak, digits.margins)


def _kronfluence(digits: Digits) -> Iterator[Row]:
    """kronfluence's analyzer."""
    import copy

    from kronfluence.analyzer import Analyzer, prepare_model
    from kronfluence.arguments import FactorArguments, ScoreArguments
    from kronfluence.task import Task

    class Classification(Task):
        def compute_train_loss(self, batch: Any, model: nn.Module, sample: bool = False) -> Tensor:
            logits = model(batch[0])
            if not sample:
                return F.cross_entropy(logits, batch[1], reduction="sum")
            labels = torch.multinomial(logits.detach().softmax(1), 1).flatten()
            return F.cross_entropy(logits, labels, reduction="sum")

        def compute_measurement(self, batch: Any, model: nn.Module) -> Tensor:
            return self.compute_train_loss(batch, model)

    def by(strategy: str) -> Callable[[], Tensor]:
        def scores() -> Tensor:
            task = Classification()
            model = prepare_model(copy.deepcopy(digits.model), task)
            with tempfile.TemporaryDirectory() as folder:
                options = {"cpu": True, "disable_tqdm": True, "output_dir": folder, "log_level": logging.ERROR}
                analyzer = Analyzer("digits", model, task, **options)
                arguments = FactorArguments(strategy=strategy)
                analyzer.fit_all_factors("factors", digits.train, per_device_batch_size=ROWS, factor_args=arguments)
                analyzer.compute_pairwise_scores(
                    "scores", "factors", digits.queries, digits.train, per_device_query_batch_size=QUERIES,
                    per_device_train_batch_size=ROWS, score_args=ScoreArguments(damping_factor=DECAY),
                )  # fmt: skip
                return analyzer.load_pairwise_scores("scores")["all_modules"].float()

        return scores

    for name, make in (("EK-FAC", af.influence.ekfac), ("K-FAC", af.influence.kfac)):
        strategy = name.lower().replace("-", "")
        yield Row(name, f"kronfluence {strategy}", _curved(digits, _drawn(make)), by(strategy), digits.losses)


def _traker(digits: Digits) -> Row:
    """traker, whose projection by CUDA kernels has a plain counterpart on CPUs."""
    from trak import TRAKer

    @contextmanager
    def quiet() -> Iterator[None]:
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)

    def scores() -> Tensor:
        model, state = digits.model, digits.model.state_dict()
        scale = RIDGE * SKETCH / sum(value.numel() for value in model.parameters())
        with tempfile.TemporaryDirectory() as folder, quiet():
            traker = TRAKer(
                model, "image_classification", ROWS, save_dir=folder, device="cpu", proj_dim=SKETCH,
                use_half_precision=False, lambda_reg=scale, logging_level=logging.ERROR,
            )  # fmt: skip
            traker.load_checkpoint(state, model_id=0)
            for batch in digits.loader:
                traker.featurize(batch, num_samples=len(batch[1]))
            traker.finalize_features()
            traker.start_scoring_checkpoint("digits", state, model_id=0, num_targets=QUERIES)
            traker.score(digits.asked, num_samples=QUERIES)
            return torch.tensor(traker.finalize_scores("digits")).T.float()

    return Row("TRAK, one model", "traker", lambda: _trak(digits), scores, digits.margins)
