"""The networks of the zoo."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WORDS, TOKENS, CLASSES = 17, 5, 4


class FunctionalReLU(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc3(torch.relu(self.fc2(F.relu(self.fc1(x)))))


class Residual(nn.Module):
    """A residual network with batch norm, whose one ReLU module runs in place and many times."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.stem, self.bn = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv1, self.bn1 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(2), nn.Linear(24, CLASSES)
        for norm in (self.bn, self.bn1, self.bn2):
            norm.running_mean.normal_(std=0.2)
            norm.running_var.uniform_(0.5, 1.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn(self.stem(x)))
        x = self.relu(x + self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))
        return self.fc(self.pool(x).flatten(1))


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.embed, self.rnn, self.fc = nn.Linear(4, 6), kind(6, 8, batch_first=True), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(self.embed(x))[0][:, -1])


class Encoder(nn.Module):
    """`nn.TransformerEncoder`, whose fast path for inference bypasses hooks."""

    def __init__(self) -> None:
        super().__init__()
        block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.embed, self.encoder = nn.Linear(4, 16), nn.TransformerEncoder(block, 2)
        self.fc = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.encoder(self.embed(x)).mean(1))


class Siamese(nn.Module):
    """One encoder for two inputs, a distance per example."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5))
        self.join = nn.Bilinear(5, 5, 3)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.join(self.encoder(left), self.encoder(right)).square().sum(1)


class Tied(nn.Module):
    """An autoencoder whose decoder has the encoder's weight, under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.hidden, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.head.weight = self.embed.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.hidden(torch.tanh(self.embed(x)))))


class ImageAndTable(nn.Module):
    """Two inputs of different shapes, one score per example."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.table, self.fc = nn.Conv2d(2, 3, 3), nn.Linear(6, 5), nn.Linear(8, 1)

    def forward(self, image: Tensor, table: Tensor) -> Tensor:
        features = torch.cat([self.conv(image).mean((2, 3)), self.table(table)], 1)
        return self.fc(F.gelu(features)).squeeze(1)


class DictInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = ImageAndTable()

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        return self.net(batch["image"], batch["table"])


class Arguments(nn.Module):
    """A model with arguments of many kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(6, 8), nn.Linear(8, CLASSES)

    def forward(self, x: Tensor, mode: str, options: dict[str, Any], offset: Tensor | None = None) -> Tensor:
        hidden = {"tanh": torch.tanh, "relu": torch.relu}[mode](self.fc1(x))
        return self.fc2(hidden * options["scale"] + (0 if offset is None else offset))


class TwoOutputs(nn.Module):
    """A layer that takes two tensors and gives two."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.spread = nn.Linear(6, 5), nn.Linear(6, 5)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.mean(x) * torch.tanh(y[:, :5]), self.spread(y).square()


class TupleLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.two, self.fc = nn.Linear(6, 6), TwoOutputs(), nn.Linear(5, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        mean, spread = self.two(torch.tanh(self.first(x)), x * x)
        return self.fc(mean + spread)


class Embeddings(nn.Module):
    """Word and position embeddings, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.word, self.position, self.fc = nn.Embedding(WORDS, 6), nn.Embedding(TOKENS, 6), nn.Linear(6, CLASSES)

    def forward(self, words: Tensor, positions: Tensor) -> Tensor:
        return self.fc(torch.tanh(self.word(words) * (1 + self.position(positions))).sum(1))


class Logits(nn.Module):
    """A Hugging Face model with random weights, as a function to logits.

    Args:
        kind: Name of the model's class in transformers.
        embedded: Take `inputs_embeds` in place of token ids.
        options: The configuration.
    """

    def __init__(self, kind: str, embedded: bool = False, **options: Any) -> None:
        import transformers

        super().__init__()
        model_class = getattr(transformers, kind)
        config = model_class.config_class(**options)
        self.model, self.embedded = model_class(config), embedded
        for name, parameter in self.model.named_parameters():
            # The usual initialisation, of 0.02, leaves so little that every attribution is nearly zero.
            if parameter.dim() > 1 and "norm" not in name.lower():
                nn.init.normal_(parameter, std=0.2)

    def forward(self, x: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        arguments = {} if attention_mask is None else {"attention_mask": attention_mask}
        if self.embedded:
            arguments["inputs_embeds"] = x
            return self.model(**arguments).logits
        return self.model(x, **arguments).logits
