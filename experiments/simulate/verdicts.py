"""What a simulation says of who is better and who is worse off for having joined."""

from __future__ import annotations

from collections.abc import Mapping

from experiments.columns import Columns
from experiments.joining import VERDICTS, Verdict
from experiments.simulate.result import Result

MARKS: Mapping[Verdict | None, str] = {
    "better off": "+",
    "not told apart": "=",
    "worse off": "-",
    None: "?",
}
STYLES: Mapping[Verdict | None, str] = {
    "better off": "bold green",
    "not told apart": "bold",
    "worse off": "bold red",
    None: "bold",
}


def legend(result: Result, shown: Columns) -> str:
    """What the marks in the table of hospitals mean; empty without baselines."""
    name = _metric(result, shown)
    return name and (
        " Bold: which of the two the hospital's tune patients prefer. On those held out it is, "
        f"against alone, + better, - worse, = not told apart, ? not known ({name}, paired "
        "bootstrap over patients, 95%)."
    )


def sentence(result: Result, shown: Columns) -> str:
    """Which hospitals are worse off, or that none is, and what of the others; empty without
    baselines.
    """
    name = _metric(result, shown)
    if not name:
        return ""
    found: dict[Verdict | None, list[str]] = {}
    for site in result.sites:
        if site.joining is not None:
            found.setdefault(site.joining.gain.verdict, []).append(site.name)
    worse = ", ".join(found.pop("worse off", []))
    nobody = f"no hospital is {'known to be ' if None in found else ''}worse off"
    said = [f"worse off: {worse}" if worse else nobody]
    for verdict in (*VERDICTS, None):
        names = found.get(verdict, [])
        said += [f"{verdict or 'not known'}: {', '.join(names)}"] if names else []
    return f"joining, by {name}: {'; '.join(said)}"


def _metric(result: Result, shown: Columns) -> str:
    """What the metric that hospitals are compared by is called."""
    metrics = {site.joining.metric for site in result.sites if site.joining is not None}
    return next((name for name, key in shown if key in metrics), "")
