"""Models that read images: a function of presence makes what they take."""

import functools

import pytest
import torch
from transformers import (
    CLIPVisionConfig,
    GPT2Config,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
)

import attrfunc as af
import language_models as tiny

ANSWER = [21, 8, 130]
SIZES = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
IMAGE = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
PATCHES = 5  # with the class token


@functools.cache
def llava():
    torch.manual_seed(0)
    vision = CLIPVisionConfig(image_size=16, patch_size=8, projection_dim=32, **SIZES)
    language = LlamaConfig(vocab_size=tiny.SIZE, num_key_value_heads=2, **SIZES)
    read = {"vision_feature_select_strategy": "full", "vision_feature_layer": -1}
    config = LlavaConfig(
        vision_config=vision.to_dict(), text_config=language.to_dict(), image_token_index=5, **read
    )  # fmt: skip
    return tiny._spread(LlavaForConditionalGeneration(config))


@functools.cache
def captions():
    torch.manual_seed(0)
    writer = GPT2Config(vocab_size=tiny.SIZE, n_embd=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=0)
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        ViTConfig(image_size=16, patch_size=8, **SIZES), writer
    )  # fmt: skip
    config.decoder_start_token_id = 1
    return tiny._spread(VisionEncoderDecoderModel(config=config))


def quarters(mask):
    image = IMAGE.clone()
    for here, (top, left) in zip(mask, [(0, 0), (0, 8), (8, 0), (8, 8)], strict=True):
        image[:, :, top : top + 8, left : left + 8] *= float(here)
    return image


KINDS = {
    "llava": (
        llava,
        lambda mask: {"input_ids": torch.tensor([[1, *[5] * PATCHES, 9, 10]]), "pixel_values": quarters(mask)},
    ),
    "captions": (captions, lambda mask: {"pixel_values": quarters(mask)}),
}  # fmt: skip


def step_by_step(model, given):
    found = []
    for t, token in enumerate(ANSWER):
        if "input_ids" in given:
            ids = torch.cat([given["input_ids"], torch.tensor([ANSWER[:t]]).long()], 1)
            logits = model(**{**given, "input_ids": ids}).logits
        else:
            logits = model(**given, decoder_input_ids=torch.tensor([[1, *ANSWER[:t]]])).logits
        found.append(logits[0, -1].log_softmax(-1)[token])
    return torch.stack(found)


@pytest.mark.parametrize(("build", "render"), KINDS.values(), ids=KINDS)
def test_parts_of_an_image(build, render):
    model = build()
    says = af.text.continuation(model, ANSWER)

    def play(presence):
        return torch.cat([says(render(mask)) for mask in presence.tolist()])

    full = torch.ones(3, 4, dtype=torch.bool)
    with torch.no_grad():
        ends = [step_by_step(model, render(mask)) for mask in ([True] * 4, [False] * 4, [True, False, True, True])]
        assert torch.allclose(play(full[:1])[0], ends[0], atol=1e-4)
        values = af.shapley_values(play, full, target=torch.arange(3))
        ablated = af.feature_ablation(play, full, target=torch.arange(3))
    assert torch.allclose(values.sum(1), ends[0] - ends[1], atol=1e-4)
    assert torch.allclose(ablated[:, 1], ends[0] - ends[2], atol=1e-4)


def test_words_beside_an_image():
    parts = af.text.segments(tiny.byte_level(), "The sky and the sea", by="word")

    def render(mask):
        return {"input_ids": torch.tensor([[1, *[5] * PATCHES, *parts.present(mask)]]), "pixel_values": IMAGE}

    found = af.text.explain(af.shapley_values, llava(), parts, ANSWER, absent=render)
    assert torch.allclose(found.scores.float(), step_by_step(llava(), render([True] * 4)), atol=1e-4)
    assert found.gap.abs().max() < 1e-4
    alone = af.text.explain(af.deep_lift, llava(), parts, ANSWER, absent=7)  # without an image it is a language model
    assert alone.gap.abs().max() < 1e-3


def test_what_a_model_takes_by_name():
    with pytest.raises(af.ArgumentError, match=r"`prompts`: .*input_ids among them"):
        af.text.continuation(llava(), ANSWER)({"pixel_values": IMAGE})
    with pytest.raises(af.ArgumentError, match=r"`prompts`: .*tensors among them"):
        af.text.continuation(captions(), ANSWER)({})
