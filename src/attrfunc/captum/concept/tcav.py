"""Testing with concept activation vectors."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn

import attrfunc as af
from attrfunc.captum.attr.attribution import LayerAttribution
from attrfunc.captum.attr.gradient import LayerGradientXActivation
from attrfunc.captum.concept.cav import CAV
from attrfunc.captum.concept.classifier import Classifier, DefaultClassifier
from attrfunc.captum.concept.concept import Concept, ConceptInterpreter, key_of
from attrfunc.concepts.tcav import shares
from attrfunc.concepts.vectors import activations_of, fingerprint
from attrfunc.core.errors import ArgumentError, AttributionError
from attrfunc.core.score.target import Target

__all__ = ["TCAV"]

MADE_FROM = "made_from"


class TCAV(ConceptInterpreter):
    """How often, and how much, scores grow along concepts; see `attrfunc.concepts.tcav`.

    Args:
        model: The model.
        layers: The names of layers.
        model_id: The folder of the model's vectors.
        classifier: Tells concepts apart; `None` is a `DefaultClassifier`.
        layer_attr_method: Gives the sensitivities at a layer; `None` takes the gradient.
        attribute_to_layer_input: Whether to look at what goes into the layers.
        save_path: The folder of all vectors.
        classifier_kwargs: Further arguments of the classifier's `train_and_eval`.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: str | list[str],
        model_id: str = "default_model_id",
        classifier: Classifier | None = None,
        layer_attr_method: LayerAttribution | None = None,
        attribute_to_layer_input: bool = False,
        save_path: str = "./cav/",
        **classifier_kwargs: Any,
    ) -> None:
        super().__init__(model)
        self.layers = [layers] if isinstance(layers, str) else layers
        self.model_id = model_id
        self.concepts: set[Concept] = set()
        self.classifier = DefaultClassifier() if classifier is None else classifier
        self.classifier_kwargs = classifier_kwargs
        self.cavs: dict[str, dict[str, CAV]] = defaultdict(dict)
        if layer_attr_method is None:
            layer_attr_method = LayerGradientXActivation(
                model, model.get_submodule(self.layers[0]), multiply_by_inputs=False
            )
        self.layer_attr_method: Any = layer_attr_method
        self.attribute_to_layer_input = attribute_to_layer_input
        self.save_path = save_path

    def compute_cavs(
        self, experimental_sets: list[list[Concept]], force_train: bool = False, processes: int | None = None
    ) -> dict[str, dict[str, CAV]]:
        """The vectors of sets of concepts at all layers: those that were saved, else new ones, which are saved.

        Args:
            experimental_sets: The sets.
            force_train: Whether to make all anew.
            processes: Kept, without effect.

        Returns:
            Vectors by the concepts' numbers, joined by hyphens, and by layer.
        """
        try:
            self._check(experimental_sets)
            for layer in self.layers:
                activations: dict[int, tuple[Tensor, str]] = {}
                for concepts in experimental_sets:
                    self.cavs[key_of(concepts)][layer] = self._vectors(concepts, layer, activations, force_train)
        except AttributionError as error:
            raise error.within("TCAV.compute_cavs")  # noqa: B904  # the same error, now with its name
        return self.cavs

    def interpret(
        self,
        inputs: Any,
        experimental_sets: list[list[Concept]],
        target: Target = None,
        additional_forward_args: Any = None,
        processes: int | None = None,
        **kwargs: Any,
    ) -> dict[str, dict[str, dict[str, Tensor]]]:
        """The scores of sets of concepts at all layers.

        Args:
            inputs: Examples of a class.
            experimental_sets: The sets.
            target: The class.
            additional_forward_args: Further arguments of the model.
            processes: Kept, without effect.
            kwargs: Further arguments of the layer method's `attribute`.

        Returns:
            `"sign_count"`, the share of positive sensitivities, and `"magnitude"`, their mean, `(C,)`, by set and by
            layer, in the order of a set's concepts.
        """
        self.compute_cavs(experimental_sets)
        scores: dict[str, dict[str, dict[str, Tensor]]] = defaultdict(dict)
        for layer in self.layers:
            self.layer_attr_method.layer = self.model.get_submodule(layer)
            found = self.layer_attr_method.attribute(
                inputs,
                target=target,
                additional_forward_args=additional_forward_args,
                attribute_to_layer_input=self.attribute_to_layer_input,
                **kwargs,
            )
            parts = found if isinstance(found, tuple | list) else (found,)
            sensitivities = torch.cat([part.detach().flatten(1) for part in parts], dim=1)
            for concepts in experimental_sets:
                stats: Any = self.cavs[key_of(concepts)][layer].stats
                weights, classes = torch.as_tensor(stats["weights"]), [int(label) for label in stats["classes"]]
                rows = [classes.index(concept.id) for concept in concepts]
                along = sensitivities @ weights[rows].to(sensitivities).T
                scores[key_of(concepts)][layer] = {"sign_count": shares(along).sign, "magnitude": along.mean(0)}
        return scores

    def _check(self, sets: list[list[Concept]]) -> None:
        concepts = {concept for one in sets for concept in one} | self.concepts
        if len({concept.id for concept in concepts}) < len(concepts):
            fix = "Reuse the same Concept, or give others other numbers."
            raise ArgumentError("experimental_sets", "two concepts of one id", "one concept for each id", fix)
        for one in sets:
            if len(one) < 2:
                fix = "Add a concept of random examples."
                raise ArgumentError("experimental_sets", f"a set of {len(one)} concepts", "two and more", fix)
        self.concepts = concepts

    def _vectors(
        self, concepts: list[Concept], layer: str, activations: dict[int, tuple[Tensor, str]], force: bool
    ) -> CAV:
        view = af.layer(self.model, layer, side="input" if self.attribute_to_layer_input else "output")
        saved = None if force else CAV.load(self.save_path, self.model_id, concepts, layer)
        if saved is not None and all(concept.data_iter is None for concept in concepts):
            return saved  # there is nothing to compare with
        for concept in concepts:
            if concept.id not in activations:
                digest = hashlib.sha256()
                name = f"the data of {concept!r}"
                data = () if concept.data_iter is None else concept.data_iter
                activations[concept.id] = (activations_of(view, data, name, digest), digest.hexdigest())
        made_from = [fingerprint(view), *(activations[concept.id][1] for concept in concepts)]
        if saved is not None and (saved.stats or {}).get(MADE_FROM) == made_from:
            return saved
        batches = [
            (found.flatten(1).float(), torch.full((len(found),), concept.id))
            for concept, (found, _) in ((concept, activations[concept.id]) for concept in concepts)
        ]
        known = self.classifier.train_and_eval(batches, **self.classifier_kwargs)
        stats = {"weights": self.classifier.weights(), "classes": self.classifier.classes(), **(known or {})}
        cav = CAV(concepts, layer, {**stats, MADE_FROM: made_from}, self.save_path, self.model_id)
        cav.save()
        return cav
