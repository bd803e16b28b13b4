import subprocess
import sys
import time
from pathlib import Path

from benchmarks.memory import Peak, Sample, Sampler, own_peak, peak

MIB = 1 << 20


def process(at: float, resident: int) -> Sample:
    return Sample(at, of_server=False, resident=resident, private=0, shared=0)


def server(at: float, private: int, shared: int) -> Sample:
    return Sample(at, of_server=True, resident=private + shared, private=private, shared=shared)


def test_a_step_has_the_peak_of_its_own_time() -> None:
    samples = [process(1.0, 10), process(2.0, 30), process(3.0, 20), process(4.0, 50)]
    assert peak(samples, 1.5, 3.5) == Peak(30, 0, 0)


def test_the_largest_process_of_the_server_counts_not_the_sum() -> None:
    samples = [process(1.0, 10), server(1.0, 5, 7), server(1.0, 1, 12), server(2.0, 4, 4)]
    found = peak(samples, 0.0, 3.0)
    assert found == Peak(10, 1, 12)
    assert found.largest == 13


def test_a_step_between_two_samples_has_what_was_sampled_nearest_to_it() -> None:
    samples = [process(1.0, 10), process(2.0, 30), server(1.0, 3, 4), server(2.0, 1, 1)]
    assert peak(samples, 1.1, 1.2) == Peak(10, 3, 4)
    assert peak(samples, 1.8, 1.9) == Peak(30, 1, 1)


def test_without_samples_nothing_is_claimed() -> None:
    assert peak([], 0.0, 1.0) == Peak(0, 0, 0)


def test_a_process_is_sampled_from_outside(tmp_path: Path) -> None:
    held = f"import time; held = bytearray({64 * MIB}); time.sleep(0.5)"
    with subprocess.Popen([sys.executable, "-c", held]) as child:
        with Sampler(child.pid, tmp_path) as sampler:
            child.wait()
        ended = time.time()
    assert peak(sampler.samples, 0.0, ended).process > 64 * MIB
    assert not any(sample.of_server for sample in sampler.samples)


def test_the_kernel_knows_the_own_peak() -> None:
    assert own_peak() > MIB
