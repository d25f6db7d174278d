"""Plots as SVG: equal numbers give equal bytes, and colour never speaks alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from headworks.metrics.names import BASELINES, TITLES
from stages.report.gather import SubjectReport
from stages.report.leaderboard import Board

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


def short(method: str) -> str:
    """The same where there is little room."""
    return label(method) if method in BASELINES else "avatar"


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
    """Training PSNR of every method over its steps, stage after stage; False without curves."""
    curves = {m: c for m, c in subject.curves.items() if len(c) > 1 and "psnr" in c.columns}
    if not curves:
        return False
    lead = subject.methods[0]
    with _figure((5.4, 2.5)) as (figure, axes):
        for method, table in curves.items():
            offset = 0
            look = style(method)
            for number, stage in enumerate(dict.fromkeys(table["stage"].to_list())):
                one = table.filter(table["stage"] == stage).sort("step")
                steps = [offset + step for step in one["step"].to_list()]
                few = {"marker": look["marker"]} if len(one) < 3 else {}
                axes.plot(
                    steps,
                    one["psnr"].to_list(),
                    color=look["color"],
                    linestyle=look["linestyle"],
                    linewidth=1.2,
                    label=None if number else label(method),
                    **few,
                )
                if method == lead:
                    _stage_mark(axes, offset, stage, number)
                offset = steps[-1] + 1
        axes.set_xlim(left=0)
        axes.set_xlabel("step")
        axes.set_ylabel("training PSNR (dB)")
        if len(curves) > 1:
            figure.legend(ncols=3, loc="outside upper center")
        _save(figure, path)
    return True


def _stage_mark(axes: Axes, offset: int, stage: str, number: int) -> None:
    """Where a stage of the leading method begins, and its name, each a line below the last."""
    if number:
        axes.axvline(offset, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    axes.annotate(
        stage, (offset, 1.0), xycoords=("data", "axes fraction"), xytext=(3, -2 - 10 * number),
        textcoords="offset points", va="top", color=MUTED,
    )  # fmt: skip


def plot_board(board: Board, path: Path) -> bool:
    """PSNR of the methods of a board: means, spreads, and every person; False without numbers."""
    rows = board.psnr()
    if not rows:
        return False
    with _figure((5.4, 0.8 + 0.34 * len(rows))) as (figure, axes):
        for at, (method, estimate) in enumerate(rows):
            look = style(method)
            if estimate.low is not None and estimate.high is not None:
                axes.plot([estimate.low, estimate.high], [at, at], color=look["color"], lw=1.6)
                for end in (estimate.low, estimate.high):
                    axes.plot([end, end], [at - 0.14, at + 0.14], color=look["color"], lw=1.6)
            if estimate.count > 1:
                beside = [at + 0.3] * estimate.count
                axes.plot(estimate.values, beside, ls="", marker="|", color=MUTED, markersize=7)
            axes.plot(estimate.mean, at, **{**look, "linestyle": "", "markersize": 7})
        axes.set_yticks(range(len(rows)), [label(method) for method, _ in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_xlabel("PSNR (dB), higher is better")
        axes.grid(axis="y", visible=False)
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
