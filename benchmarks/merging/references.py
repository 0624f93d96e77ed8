"""What each method should give, in float64 and over whole tensors: written from the papers and mergekit's guide.

Nothing of cogen or of mergekit is used here, so that an error would have to be made twice to stay unseen. Speed and
memory do not count. `merge(method, base, experts, **parameters)` takes float64 arrays of one shape and, of the
parameters that every model has, lists in the order of the experts. Where the papers leave a choice (equal magnitudes,
a vote of 0) the elements are marked as unsure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass
class Merged:
    """``unsure``: elements that hang on a choice which the method's definition does not make.

    ``slack``: how far a correct result may lie from the value, where a parameter is a tolerance.
    """

    value: Array
    unsure: Mask | None = None
    slack: Array | None = None

    def __post_init__(self) -> None:
        self.unsure = np.zeros(self.value.shape, bool) if self.unsure is None else self.unsure
        self.slack = np.zeros(self.value.shape) if self.slack is None else self.slack


def merge(method: str, base: Array | None, experts: Sequence[Array], **parameters: Any) -> Merged:
    """What the method gives for one tensor, by its name in mergekit."""
    from merging.averages import AVERAGES
    from merging.differences import DIFFERENCES
    from merging.spheres import SPHERES

    found = (AVERAGES | DIFFERENCES | SPHERES)[method](base, list(experts), **parameters)
    return found if isinstance(found, Merged) else Merged(found)
