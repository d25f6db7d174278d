"""LivePortrait's networks: expression-only transfer, where its weights are at hand."""

from __future__ import annotations

from pathlib import Path

from headworks.errors import WeightsError
from headworks.networks.files import find_file

NAME = "liveportrait"
BASE = ("appearance_feature_extractor", "motion_extractor", "warping_module", "spade_generator")
RETARGETING = "stitching_retargeting_module"


def weights_files(folder: Path | None) -> dict[str, Path]:
    """The published files below a folder: name -> path; stitching's only where it is there.

    Raises:
        WeightsError: with the files that are missing.
    """
    base = None if folder is None else folder / "liveportrait" / "base_models"
    found = {name: find_file(base, name) for name in BASE}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise WeightsError(
            f"{base or 'no folder of weights'}: no {', '.join(f'{n}.pth' for n in missing)} of "
            "LivePortrait; put the folder liveportrait/ of the model KwaiVGI/LivePortrait there "
            "(read its licence), or set `expressions.backend` to synthetic"
        )
    files = {name: path for name, path in found.items() if path is not None}
    retargeting = None if folder is None else folder / "liveportrait" / "retargeting_models"
    extra = find_file(retargeting, RETARGETING)
    return {**files, **({RETARGETING: extra} if extra else {})}
