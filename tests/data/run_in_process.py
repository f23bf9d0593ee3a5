"""Runs that are killed, limited or started by torchrun: `python run_in_process.py KIND PATH ...`."""

import resource
import sys

import torch
from small_data import Pairs, Slow, net

import attrfunc as af

OPTIONS = {"target": "predicted", "batch_size": 8, "shard_rows": 16, "progress": False}


def shap(path, data, **options):
    """A method that draws."""
    given = {**OPTIONS, "baselines": torch.zeros(5, 4), "stdev": 0.1, "seed": 3, **options}
    return af.data.attribute(af.gradient_shap, net(), data, path=path, **given)


class Images(torch.utils.data.Dataset):
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, number):
        return torch.full((3, 16, 16), float(number % 7 + 1)), number % 3


def main(kind, path, *rest):
    torch.set_num_threads(1)
    if kind == "slow":
        shap(path, Slow(400))
    elif kind == "torchrun":
        data = Pairs(200)
        shap(f"{path}/index", data, engine="torchrun")
        shap(f"{path}/stream", list(zip(data.x.split(8), data.labels.split(8), strict=True)), engine="torchrun")
    elif kind == "limited":  # no file may be larger than this: what a full disk does, at a size one can choose
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(rest[0]), int(rest[0])))
        try:
            shap(path, Pairs(200))
        except af.ArgumentError as error:
            print(error)
            raise SystemExit(3) from None
    else:
        for count in map(int, rest):
            images(kind, f"{path}/{count}", count)


def itself(model, x, *, target=None):
    """A method that costs nothing: what is measured is all the rest."""
    return x


def images(kind, path, count):
    """Prints the most memory that was resident, in MiB."""
    options = {"batch_size": 128, "format": kind, "progress": False, "predictions": False}
    af.data.attribute(itself, net(), Images(count), path=path, **options)
    af.data.summary(path, by=None)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main(*sys.argv[1:])
