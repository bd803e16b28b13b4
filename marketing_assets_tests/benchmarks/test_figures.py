from dataclasses import dataclass, field

from benchmarks.figures import figures_of


@dataclass(frozen=True)
class Served:
    before: float
    during: float
    errors: int
    machine: str
    said: list[str] = field(default_factory=list)

    @property
    def p99_ratio(self) -> float:
        return self.during / self.before


def test_every_number_that_a_result_says_is_a_figure() -> None:
    served = Served(before=2.0, during=3.0, errors=0, machine="here")
    assert figures_of(served) == {"before": 2.0, "during": 3.0, "errors": 0, "p99_ratio": 1.5}
