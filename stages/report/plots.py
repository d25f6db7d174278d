"""Plots as SVG: equal numbers give equal bytes, and colour never speaks alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headworks.metrics.names import BASELINES, TITLES
from stages.report.gather import SubjectReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#22262b", "#646b73", "#e4e4df"
# Colours of Okabe and Ito, told apart with every kind of colour vision; markers differ as well.
STYLES: dict[str, dict[str, Any]] = {
    "gaussian_avatars": {"color": "#cc79a7", "marker": "D", "linestyle": (0, (6, 1.5))},
    "flash_avatar": {"color": "#56b4e9", "marker": "v", "linestyle": (0, (3, 1, 1, 1))},
    "nearest_frame": {"color": "#e69f00", "marker": "s", "linestyle": (0, (4, 2))},
    "textured_mesh": {"color": "#009e73", "marker": "^", "linestyle": (0, (1, 1.4))},
}
AVATAR_STYLE: dict[str, Any] = {"color": "#0072b2", "marker": "o", "linestyle": "-"}
_RC: dict[Any, Any] = {
    "svg.hashsalt": "headworks",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "lines.markersize": 4,
}


def style(method: str) -> dict[str, Any]:
    """Colour, marker and line of a method."""
    return STYLES.get(method, AVATAR_STYLE)


def label(method: str) -> str:
    """A method's name as people read it."""
    plain = TITLES.get(method, method.replace("_", " "))
    return plain if method in BASELINES else f"avatar ({method})"


def plot_frames(subject: SubjectReport, path: Path) -> bool:
    """PSNR of every measured picture, per method; False where there are fewer than two."""
    import polars as pl
    from matplotlib.ticker import MaxNLocator

    rows = subject.rows.filter(
        (pl.col("metric") == "psnr")
        & (pl.col("scope") == "full")
        & (pl.col("protocol") == subject.protocol)
        & pl.col("value").is_not_null()
    )
    if rows["frame"].n_unique() < 2 and rows["camera"].n_unique() < 2:
        return False
    cameras = sorted(rows["camera"].unique())
    with _figure((5.4, 2.5)) as (figure, axes):
        for method in subject.methods:
            for camera in cameras:
                one = rows.filter((pl.col("method") == method) & (pl.col("camera") == camera))
                one = one.sort("sequence", "frame")
                axes.plot(
                    one["frame"].to_list(),
                    one["value"].to_list(),
                    label=label(method) if camera == cameras[0] else None,
                    **style(method),
                )
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("frame of the source")
        axes.set_ylabel("PSNR (dB), higher is better")
        figure.legend(ncols=3, loc="outside upper center")
        _save(figure, path)
    return True


def plot_curves(subject: SubjectReport, path: Path) -> bool:
    """The fit's PSNR over its steps, stage after stage; False without curves."""
    curves = subject.curves
    if curves is None or len(curves) < 2:
        return False
    with _figure((5.4, 2.5)) as (figure, axes):
        offset = 0
        stages = list(dict.fromkeys(curves["stage"].to_list()))
        for number, stage in enumerate(stages):
            one = curves.filter(curves["stage"] == stage).sort("step")
            steps = [offset + step for step in one["step"].to_list()]
            few = {"marker": "o"} if len(one) < 3 else {}
            line = {"color": AVATAR_STYLE["color"], "linewidth": 1.2, **few}
            axes.plot(steps, one["psnr"].to_list(), **line)
            if number:
                axes.axvline(offset, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
            axes.annotate(
                stage,
                (offset, 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(3, -2),
                textcoords="offset points",
                va="top",
                color=MUTED,
            )
            offset = steps[-1] + 1
        axes.set_xlim(left=0)
        axes.set_xlabel("step")
        axes.set_ylabel("training PSNR (dB)")
        _save(figure, path)
    return True


def plot_overview(subjects: Sequence[SubjectReport], path: Path) -> bool:
    """PSNR of all subjects and methods on one axis; False without numbers."""
    known = [s for s in subjects if any("psnr" in v for v in s.values.values())]
    if not known:
        return False
    with _figure((5.4, 0.9 + 0.42 * len(known))) as (figure, axes):
        for row, subject in enumerate(known):
            values = {m: v["psnr"] for m, v in subject.values.items() if "psnr" in v}
            axes.plot([min(values.values()), max(values.values())], [row, row], color=GRID, lw=4)
            for method in subject.methods:
                if method in values:
                    marker = {**style(method), "linestyle": ""}
                    axes.plot(values[method], row, label=label(method), markersize=7, **marker)
        axes.set_yticks(range(len(known)), [s.name for s in known])
        axes.set_ylim(len(known) - 0.5, -0.5)
        axes.set_xlabel("PSNR (dB), higher is better")
        axes.grid(axis="y", visible=False)
        handles = dict(zip(*reversed(axes.get_legend_handles_labels())))
        figure.legend(handles.values(), handles.keys(), ncols=3, loc="outside upper center")
        _save(figure, path)
    return True


class _figure:  # noqa: N801
    """A figure in our style, without any of the user's own settings."""

    def __init__(self, size: tuple[float, float]) -> None:
        self.size = size

    def __enter__(self) -> tuple[Figure, Axes]:
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        self.context = matplotlib.rc_context()
        self.context.__enter__()
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        figure = Figure(figsize=self.size, layout="constrained")
        FigureCanvasSVG(figure)
        return figure, figure.add_subplot()

    def __exit__(self, *problem: Any) -> None:
        self.context.__exit__(*problem)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # No date and no creator: equal numbers give equal bytes.
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
