"""Synthetic people: who is drawn by a seed, and what is known of them.

python examples/03_person.py OUT
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from headworks.images import to_uint8
from headworks.synthetic import make_person, render_person
from headworks.synthetic.rigs import ring

SIDE = 160

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
cameras = ring(3, SIDE)
rows = []
for seed in (1, 2):
    person = make_person(seed, texture=256)
    shown = [render_person(person, camera) for camera in cameras]
    rows.append(np.concatenate([picture.over((1.0, 1.0, 1.0)) for picture in shown], 1))
    labels = ("sex", "age", "hair_style", "beard", "skin_type", "glasses")
    known = {name: person.attributes[name] for name in labels if name in person.attributes}
    print(f"seed {seed}: {known}")
    seen = [int(picture.landmarks[:, 2].sum()) for picture in shown]
    print(f"  landmarks seen by the three cameras: {seen}")
Image.fromarray(to_uint8(np.concatenate(rows))).save(out / "people.png")
