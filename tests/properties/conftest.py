import pytest
import torch


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    """The drawn networks are so small that a second thread only waits for the first: up to 10 x slower on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
