"""Networks of every layer kind, with a loss of each example, for the tests of influence."""

import torch
from torch import nn
from torch.nn import functional as F


def cross_entropy(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1], reduction="none")


class Tokens(nn.Module):
    """An embedding, something in between and a head."""

    def __init__(self, middle, width=6, tied=False, first=None):
        super().__init__()
        self.embedding = nn.Embedding(9, width, padding_idx=1)
        self.middle, self.first = middle, first
        self.head = nn.Linear(width, 9)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, tokens):
        x = self.embedding(tokens)
        found = self.middle(x)
        found = found[0] if isinstance(found, tuple) else found
        return self.head(found).mean(1)


class Twice(nn.Module):
    """One layer that runs twice."""

    def __init__(self):
        super().__init__()
        self.first, self.layer, self.head = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x):
        x = torch.relu(self.first(x))
        return self.head(torch.tanh(self.layer(torch.relu_(self.layer(x)))))


class Conv1D(nn.Module):
    """A linear layer as transformers writes GPT-2's."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(6, 6) / 3), nn.Parameter(torch.randn(6))

    def forward(self, x):
        return torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight).view(x.size()).tanh()


class Positions(nn.Module):
    def __init__(self):
        super().__init__()
        self.positions, self.scale = nn.Parameter(torch.randn(1, 5, 6)), nn.Parameter(torch.randn(6))
        self.matrix = nn.Parameter(torch.randn(6, 6))

    def forward(self, x):
        return torch.tanh((x + self.positions) * self.scale @ self.matrix.t())


class TimeFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x):
        return self.layer(x.transpose(0, 1)).tanh().transpose(0, 1)


class Scaled(nn.Module):
    """A weight that is a function of parameters, and a penalty that uses it by itself."""

    def __init__(self):
        super().__init__()
        self.layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))

    def forward(self, x):
        return self.layer(x)


def image(*layers, size):
    return nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(3)), (2, *size)


IMAGES = {
    "conv": lambda: image(nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.ReLU(), size=(6, 6)),
    "grouped conv": lambda: image(nn.Conv2d(2, 6, 3, groups=2, dilation=2), nn.ReLU(inplace=True), size=(6, 6)),
    "depthwise conv, same": lambda: image(nn.Conv2d(2, 2, 3, groups=2, padding="same"), nn.ReLU(), size=(5, 5)),
    "conv1d": lambda: image(nn.Conv1d(2, 4, 3, padding=1, bias=False), nn.Tanh(), size=(7,)),
    "conv3d": lambda: image(nn.Conv3d(2, 3, 2), nn.Tanh(), size=(3, 3, 3)),
    "transposed conv": lambda: image(nn.ConvTranspose2d(2, 3, 3, groups=1), nn.Tanh(), size=(4, 4)),
    "batch norm": lambda: image(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), size=(5, 5)),
    "group norm": lambda: image(nn.Conv2d(2, 4, 3), nn.GroupNorm(2, 4), nn.PReLU(4), size=(5, 5)),
    "instance norm": lambda: image(nn.InstanceNorm2d(2, affine=True), nn.ReLU(), size=(5, 5)),
}
TEXTS = {
    "layer norm": lambda: nn.LayerNorm(6),
    "rms norm": lambda: nn.RMSNorm(6),
    "lstm": lambda: nn.LSTM(6, 6, batch_first=True),
    "gru": lambda: nn.GRU(6, 3, num_layers=2, bidirectional=True, batch_first=True),
    "rnn": lambda: nn.RNN(6, 6, batch_first=True),
    "attention": lambda: nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True),
    "Conv1D": Conv1D,
    "positions": Positions,
    "time first": TimeFirst,
}


def network(name, dtype=torch.float64):
    """A network of this kind and a batch for it."""
    torch.manual_seed(0)
    labels = torch.tensor([0, 2, 1, 1, 0, 2])
    if name in IMAGES:
        model, size = IMAGES[name]()
        x = torch.randn(6, *size)
        model(x)
    elif name in TEXTS or name == "tied":
        tied = name == "tied"
        model = Tokens(nn.Tanh() if tied else TEXTS[name](), tied=tied)
        x, labels = torch.randint(0, 9, (6, 5)), torch.randint(0, 9, (6,))
    else:
        model = {"twice": Twice, "weight norm": Scaled, "mlp": lambda: mlp(4, 3)}[name]()
        x = torch.randn(6, 4)
    model = model.to(dtype).eval()
    with torch.no_grad():
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5)
    return model, (x if name in TEXTS or name == "tied" else x.to(dtype), labels)


def mlp(inputs, outputs, width=8):
    return nn.Sequential(nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, outputs))


NAMES = [*IMAGES, *TEXTS, "tied", "twice", "weight norm", "mlp"]


def gradients(model, batch, loss=cross_entropy, names=None):
    """Of each example by a plain loop of backward passes, `(B, P)`."""
    chosen = [p for n, p in model.named_parameters() if names is None or n in names]
    found = []
    for row in range(len(batch[1])):
        value = loss(model, tuple(part[row : row + 1] for part in batch)).sum()
        slopes = torch.autograd.grad(value, chosen, allow_unused=True)
        filled = [torch.zeros_like(p) if s is None else s for p, s in zip(chosen, slopes, strict=True)]
        found.append(torch.cat([slope.flatten() for slope in filled]))
    return torch.stack(found)
