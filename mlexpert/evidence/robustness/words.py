"""How the report writes a threat, a share, and what a verdict on an attack means."""

from __future__ import annotations

from collections.abc import Mapping

from mlexpert.evidence.robustness.record import AttackRecord, ShareRecord, ThreatRecord

VERDICT_NOTES = {
    "trusted": "No check speaks against the number.",
    "suspect": "Take the robust accuracy as an upper bound: a stronger attack may leave less.",
    "invalid": "The robust accuracy says nothing: the attacks were not what they are said to be.",
    "": "The record holds no verdict.",
}

_NORMS = {"linf": "L∞", "l2": "L2", "l1": "L1"}
_BOUNDS = {
    "linf": "no value of an input moves by more than {radius}",
    "l2": "the Euclidean length of the change of an input is at most {radius}",
    "l1": "the absolute changes of an input's values add up to at most {radius}",
}
_KNOWLEDGE = {
    "white-box": "The attacker knows the network with its weights and the defence (white-box)",
    "black-box": "The attacker sees what the model answers, and not its weights (black-box)",
}


def threat_name(threat: ThreatRecord) -> str:
    """Return norm and radius, as in "L∞, ε = 8/255"."""
    norm = _NORMS.get(threat.norm, threat.norm)
    if threat.budgets and "budget" in threat.unit and threat.epsilon == 1:
        return f"{norm}, a budget for each column"
    name = f"{norm}, ε = {short_radius(threat)}"
    return f"{name} {threat.unit}" if threat.budgets else name


def threat_sentence(threat: ThreatRecord) -> str:
    """Return what an attacker may do, in two sentences."""
    norm = _NORMS.get(threat.norm, threat.norm)
    other = f"in the norm {norm} the change of an input is at most {{radius}}"
    bound = _BOUNDS.get(threat.norm, other).format(radius=f"ε = {_radius(threat)}")
    bound = f"{bound} {threat.unit}".rstrip()
    if threat.budgets:
        what = f", {bound.partition('than ')[2]}" if "deviation" in threat.unit else ""
        bound = f"no column moves by more than its own budget{what}; columns without one stay"
    box = ""
    if threat.low is not None and threat.high is not None:
        box = f", and each stays between {threat.low:g} and {threat.high:g}"
    knowledge = _KNOWLEDGE.get(threat.knowledge, f"What the attacker knows: {threat.knowledge}")
    return f"Threat model, {norm}: {bound}{box}. {knowledge}."


def short_radius(threat: ThreatRecord) -> str:
    """Return epsilon, of pixels as in "8/255" where it is a whole number of these."""
    return _levels(threat) or _number(threat)


def _radius(threat: ThreatRecord) -> str:
    """Return epsilon, and as a multiple of 1/255 where it is a whole one."""
    levels = _levels(threat)
    return f"{levels} ({_number(threat)})" if levels else _number(threat)


def _levels(threat: ThreatRecord) -> str:
    """Return epsilon as in "8/255"; empty where it is no whole number of them."""
    levels = threat.epsilon * 255
    whole = round(levels)
    is_whole = whole >= 1 and abs(levels - whole) < 1e-4
    return f"{whole}/255" if is_whole and "pixel" in threat.unit and threat.epsilon < 1 else ""


def _number(threat: ThreatRecord) -> str:
    return f"{threat.epsilon:.4g}"


def percent(share: float) -> str:
    """Return a share in per cent, with one decimal."""
    return f"{100 * share:.1f} %"


def interval(share: ShareRecord | None) -> str:
    """Return the 95 % interval of a share in words; empty where there is none."""
    if share is None or share.interval is None:
        return ""
    low, high = share.interval
    return f"{low:.3f} to {high:.3f}"


def unmet(one: AttackRecord) -> list[Mapping[str, str]]:
    """Return the checks behind a verdict: those that failed, then those that are suspect.

    Where there are none of these and the record is not trusted, it is for those not measured.
    """
    bad = [check for check in one.checks if check["verdict"] in ("failed", "suspect")]
    if not bad and one.verdict != "trusted":
        return [check for check in one.checks if check["verdict"] == "not measured"]
    return sorted(bad, key=lambda check: check["verdict"])
