"""Small models and data sets."""

import torch
from torch import nn
from torch.utils.data import Dataset


class Net(nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.hidden = nn.Linear(4, 6)
        self.head = nn.Linear(6, classes)

    def forward(self, x):
        return self.head(torch.tanh(self.hidden(x)))


def net(seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    model = Net(**options)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    return model.eval()


def rows(count=50, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 4, generator=generator), torch.arange(count) % 3


class Pairs(Dataset):
    """Rows of which some cannot be read, or have another shape."""

    def __init__(self, count=50, unreadable=(), longer=()):
        self.x, self.labels = rows(count)
        self.unreadable, self.longer = unreadable, longer

    def __len__(self):
        return len(self.x)

    def __getitem__(self, number):
        if number in self.unreadable:
            raise OSError(f"picture {number} is cut short")
        x = self.x[number]
        return (torch.cat([x, x]) if number in self.longer else x), int(self.labels[number])


class Slow(Pairs):
    """Rows that take their time, so that a run can be killed in the middle."""

    def __getitem__(self, number):
        import time

        time.sleep(0.004)
        return super().__getitem__(number)
