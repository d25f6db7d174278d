"""Energy of the processor while something ran, where the machine tells it (RAPL).

The counters are the package's, and everything that runs at the time adds to them: a unit gets the
share of the package's energy that it had of the machine's busy CPU time.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
STAT = Path("/proc/stat")
_PACKAGE = re.compile(r"(intel-rapl|amd-rapl):\d+")


class EnergyMeter:
    """Reads the counters now and once more when asked.

    Args:
        powercap: where the counters are. stat: where busy CPU time is.
    """

    def __init__(self, powercap: Path = POWERCAP, stat: Path = STAT) -> None:
        self._powercap, self._stat = powercap, stat
        self._energy = self._counters()
        self._busy = self._busy_seconds()

    def joules(self, cpu_seconds: float) -> float | None:
        """Joules of the time since, for who used so many CPU seconds of it; None if not known."""
        now, busy = self._counters(), self._busy_seconds()
        if not self._energy or now.keys() != self._energy.keys():
            return None
        if busy is None or self._busy is None or busy <= self._busy:
            return None
        total = 0.0
        for name, (value, most) in now.items():
            spent = value - self._energy[name][0]
            total += spent if spent >= 0 else spent + most + 1
        return round(total * 1e-6 * min(1.0, cpu_seconds / (busy - self._busy)), 3)

    def _counters(self) -> dict[str, tuple[int, int]]:
        """Microjoules and where the counter begins anew, of every package that may be read."""
        found = {}
        try:
            zones = sorted(p for p in self._powercap.iterdir() if _PACKAGE.fullmatch(p.name))
        except OSError:
            return {}
        for zone in zones:
            try:
                if not (zone / "name").read_text().startswith("package"):
                    continue
                value = int((zone / "energy_uj").read_text())
                found[zone.name] = (value, int((zone / "max_energy_range_uj").read_text()))
            except (OSError, ValueError):
                return {}  # without one of them the sum would be too small
        return found

    def _busy_seconds(self) -> float | None:
        try:
            words = self._stat.read_text().split("\n", 1)[0].split()
            user, nice, system, _idle, _wait, irq, softirq = (int(word) for word in words[1:8])
        except (OSError, ValueError):
            return None
        return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
