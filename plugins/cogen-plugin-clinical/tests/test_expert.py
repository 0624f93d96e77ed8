"""The expert keeps the contract of CoGen: what `cogen check clinical` prints, a test each."""

from cogen.conformance import ExpertConformance


class TestExpert(ExpertConformance):
    """`level = "smoke"` opens the weights and runs the suites once, `"full"` measures what is claimed."""

    expert = "clinical"
