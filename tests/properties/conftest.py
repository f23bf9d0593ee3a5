import pytest
import torch


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """The drawn networks are so small that a second thread costs time: on a busy machine, 10 x as much."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
