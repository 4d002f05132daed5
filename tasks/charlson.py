"""charlson: how ill a patient is already, as Charlson's index of the stay's own codes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import ClassVar, Literal

from tasks.charlson_table import Weighting, comorbidities, weights
from tasks.outcome import AT_ADMISSION, at_admission
from tasks.records import Code, Patient, System
from tasks.task import Label, LeftOut, Task

_LOWEST = (1, 3, 5, 8)
"""The least index of each bin but the first."""
_BINS = ("0", "1-2", "3-4", "5-7", "over-7")

_SYSTEMS: dict[System, Literal["icd9", "icd10"]] = {"icd-9-cm": "icd9", "icd-10-cm": "icd10"}

_MILDER = {"mld": "msld", "diab": "diabwc", "canc": "metacanc"}
"""The milder form of a disease, which does not count beside the more severe one."""


class Charlson(Task):
    """Charlson's comorbidity index of a stay in five bins, from what was known at its admission.

    The index is the sum of the weights of 17 diseases that this stay's ICD-9-CM and ICD-10-CM
    diagnoses name (Charlson et al. 1987, J Chronic Dis 40; the codes of Quan et al. 2005, Med Care
    43). Age does not count. Of mild and severe liver disease, diabetes without and with
    complications, cancer and metastases only the more severe form counts. The bins are those of
    Jiang et al. (2023), Nature 619, and of ReMedE: 0, 1-2, 3-4, 5-7, over 7. A stay without
    diagnoses is left out: not coded is not the same as no disease.

    Attributes:
        weighting: `charlson`, the weights of 1987, or `quan`, those of Quan et al. 2011, Am J
            Epidemiol 173.
    """

    kind: ClassVar[str] = "charlson"
    weighting: Weighting = "charlson"

    @property
    def exclusive(self) -> bool:
        """See `Task.exclusive`: an index lies in one bin."""
        return True

    @property
    def outputs(self) -> tuple[str, ...]:
        """See `Task.outputs`: the bins, lowest first."""
        return _BINS

    @property
    def questions(self) -> tuple[str, ...]:
        """See `Task.questions`."""
        return (
            "The patient has no chronic disease that shortens life.",
            "The patient has one or two chronic diseases, with an index of comorbidity of 1 to 2.",
            "The patient has several chronic diseases, with an index of comorbidity of 3 to 4.",
            "The patient has severe chronic diseases, with an index of comorbidity of 5 to 7.",
            "The patient has many severe chronic diseases, with an index of comorbidity over 7.",
        )

    @property
    def summary(self) -> str:
        """See `Task.summary`."""
        return (
            "how many and how severe chronic diseases the patient had, as Charlson's index of the "
            "stay's diagnosis codes in five bins (0, 1-2, 3-4, 5-7, over 7), asked at the admission"
        )

    @property
    def reads(self) -> str:
        """See `Task.reads`."""
        return AT_ADMISSION

    def labels(self, patient: Patient, left_out: LeftOut) -> Iterator[Label]:
        """See `Task.labels`: one label per coded stay."""
        for stay in patient.stays:
            if any(code.system in _SYSTEMS for code in stay.codes):
                found = index(stay.codes, weighting=self.weighting)
                yield at_admission(stay, frozenset([_BINS[bisect_right(_LOWEST, found)]]))
            else:
                left_out("stays without diagnosis codes")


def index(codes: Iterable[Code], *, weighting: Weighting = "charlson") -> int:
    """Charlson's index of a stay's codes; procedures and other systems do not count.

    >>> index([Code("icd-10-cm", "E11.9"), Code("icd-10-cm", "E1122"), Code("icd-9-cm", "428.0")])
    3
    """
    found = {
        name
        for code in codes
        if code.system in _SYSTEMS
        for name in comorbidities(code.code, _SYSTEMS[code.system])
    }
    counted = {name for name in found if _MILDER.get(name) not in found}
    return sum(weights(weighting)[name] for name in counted)
