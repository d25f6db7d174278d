"""The live viewer shows what its sliders say, to this machine alone."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from headworks.avatars.avatar import BoundAvatar
from headworks.avatars.binding import bind_uv, initial_gaussians
from headworks.avatars.gasp.decoder import GaussianPrior
from headworks.errors import HeadworksError
from headworks.heads.base import HeadPose
from headworks.images import to_uint8
from headworks.pictures import portrait_camera
from headworks.viewer.cast import Actor, can_mix, corner_weights, mixed
from headworks.viewer.film import film, swung
from headworks.viewer.latents import Latents
from headworks.viewer.state import State, View
from headworks.viewer.studio import Studio, camera_of
from headworks.web import Sequence, resting_row
from headworks.web.page import head_vertices
from tests.tinycapture import toy_avatar

SIDE = 96
FRONT = View((0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 0.7), 0.5, 1.0)


def toy_actor(name: str, shift: float = 0.0) -> Actor:
    """The toy head with a nod; `shift` turns its colours into another person's."""
    avatar = toy_avatar("monocular")
    local = avatar.local._replace(colors=avatar.local.colors + shift)
    avatar = replace(avatar, local=local, identity=torch.tensor([shift, 0.0]))
    rest = resting_row(avatar.head)
    rows = np.repeat(rest[None], 11, 0)
    rows[:, 1] = np.linspace(0, 1, 11)  # the jaw opens
    return Actor(name, avatar, rest, {"nod": Sequence("nod", 10.0, rows)})


@pytest.fixture(scope="module")
def actors() -> list[Actor]:
    return [toy_actor("one"), toy_actor("two", 0.8)]


def difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(float) - second).mean())


def test_a_picture_is_what_the_renderer_shows(actors: list[Actor]) -> None:
    actor = actors[0]
    picture = Studio(actors).picture(State(height=SIDE, names=False), FRONT)
    still = torch.zeros(2)
    rgb, _ = actor.avatar.render(still, HeadPose.zeros(1), camera_of(FRONT, SIDE, SIDE))
    assert difference(picture, to_uint8(rgb)) < 0.05
    assert picture.std() > 20


def test_a_browser_that_starts_in_front_sees_the_portrait(actors: list[Actor]) -> None:
    camera = portrait_camera(head_vertices(actors[0].avatar), SIDE)
    x, y, z = camera.centre.tolist()
    fov = 2 * math.atan(SIDE / 2 / camera.K[0, 0])
    ours = camera_of(View((0.0, 1.0, 0.0, 0.0), (x, y, z), fov, 1.0), SIDE, SIDE)
    assert np.allclose(ours.viewmat, camera.viewmat, atol=1e-9)
    assert np.allclose(ours.K, camera.K)


def test_sliders_add_to_a_motion_within_what_a_face_can_do(actors: list[Actor]) -> None:
    studio, actor = Studio(actors), actors[0]
    state = State(motion="nod", time=0.45, values={("face", "Open jaw"): 0.3})
    row = studio.row(actor, state)
    assert row[1] == pytest.approx(0.75)
    assert studio.row(actor, replace(state, time=0.9))[1] == 1.0
    turned = studio.row(actor, replace(state, values={("head", "Turn"): 0.2}))
    assert turned[2 + 7] == pytest.approx(0.2)


def test_four_corners_mix_faces_bilinearly(actors: list[Actor]) -> None:
    studio, actor = Studio(actors), actors[0]
    corners = ("Neutral", "Jaw open", "Neutral", "Jaw open")
    state = State(mix_expressions=True, corners=corners, x=0.25, y=0.9)
    full = actor.poses["Jaw open"][1]
    assert studio.row(actor, state)[1] == pytest.approx(0.25 * full)
    assert sum(corner_weights(0.3, 0.8)) == pytest.approx(1)


def test_a_mixture_at_a_corner_is_that_person(actors: list[Actor]) -> None:
    studio = Studio(actors)
    state = State(height=SIDE, names=False, mix_people=True, people=(0, 1, 0, 1), x=1.0, y=0.3)
    alone = studio.picture(State(height=SIDE, names=False, first=1), FRONT)
    assert difference(studio.picture(state, FRONT), alone) < 0.1
    first = studio.picture(State(height=SIDE, names=False), FRONT)
    between = studio.picture(replace(state, x=0.5), FRONT)
    assert difference(between, alone) < difference(first, alone)
    assert difference(between, first) < difference(first, alone)


def test_opposite_quaternions_do_not_cancel_in_a_mixture(actors: list[Actor]) -> None:
    avatar = actors[0].avatar
    assert isinstance(avatar, BoundAvatar)
    flipped = replace(avatar, local=avatar.local._replace(quats=-avatar.local.quats))
    quats = mixed([avatar, flipped], (0.5, 0.5)).local.quats
    assert torch.allclose(quats, torch.nn.functional.normalize(avatar.local.quats, dim=-1))


def test_people_of_different_bindings_are_not_mixed(actors: list[Actor]) -> None:
    avatar = actors[0].avatar
    binding = bind_uv(avatar.head, 20)
    other = BoundAvatar(
        avatar.head, avatar.identity, initial_gaussians(avatar.head, binding), binding, "gasp", "x"
    )
    assert can_mix([a.avatar for a in actors])
    assert not can_mix([avatar, other])


def test_a_latent_step_changes_a_finer_avatar_and_no_step_nothing(actors: list[Actor]) -> None:
    avatar = actors[0].avatar
    assert isinstance(avatar, BoundAvatar)
    coarse = bind_uv(avatar.head, 16)
    prior = GaussianPrior(
        initial_gaussians(avatar.head, coarse), 6, 4, 8, 2, rng_seed=1, code_std=1.0
    )
    with torch.no_grad():  # a decoder that was never trained hardly answers
        for parameter in prior.decoder.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.manual_seed(2)))
    named = {"hair": np.array([1.0, 0.0, 0.0, 0.0])}
    latents = Latents(prior, coarse, avatar.head.digest, named)
    assert list(latents.directions)[:2] == ["hair", "principal axis 1"]
    assert latents.fits(avatar)
    # As many faces, yet another head: its triangles are elsewhere.
    other = replace(avatar.head, faces=avatar.head.faces.flip(0))
    assert not latents.fits(replace(avatar, head=other))
    still = latents.edited(avatar, {"hair": 0.0})
    assert torch.allclose(still.local.colors, avatar.local.colors, atol=1e-5)
    moved = latents.edited(avatar, {"hair": 2.0})
    assert float((moved.local.colors - avatar.local.colors).abs().max()) > 1e-3


def test_a_pair_shows_both_side_by_side(actors: list[Actor]) -> None:
    studio = Studio(actors)
    wide = replace(FRONT, aspect=2.0)
    pair = studio.picture(State(height=SIDE, pair=True, second=1, names=False), wide)
    assert pair.shape == (SIDE, 2 * SIDE, 3)
    for n, part in ((0, pair[:, :SIDE]), (1, pair[:, SIDE:])):
        alone = studio.picture(State(height=SIDE, first=n, names=False), FRONT)
        assert difference(part[:, 1:], alone[:, 1:]) < 0.1


def test_a_swing_keeps_its_distance(actors: list[Actor]) -> None:
    view = swung(FRONT, (0.0, 0.0, 0.1), 0.5)
    before = math.dist(FRONT.position, (0.0, 0.0, 0.1))
    assert math.dist(view.position, (0.0, 0.0, 0.1)) == pytest.approx(before)
    axis = camera_of(view, 8, 8).viewmat[2, :3]
    towards = np.array([0.0, 0.0, 0.1]) - view.position
    assert np.allclose(axis, towards / np.linalg.norm(towards), atol=1e-6)


def test_a_film_is_an_mp4_of_the_motion_with_a_mark(actors: list[Actor], tmp_path: Path) -> None:
    import av

    studio, path = Studio(actors), tmp_path / "film.mp4"
    count = film(studio, State(height=SIDE, motion="nod"), FRONT, path, (0.0, 0.0, 0.0))
    with av.open(str(path)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
        assert float(container.streams.video[0].average_rate or 0) == 10.0
    assert len(frames) == count == 10
    assert difference(frames[0], frames[-1]) > 0.3
    plain = studio.picture(State(height=SIDE, motion="nod"), FRONT)
    corner = (slice(SIDE - 14, SIDE), slice(SIDE - 50, SIDE))
    assert difference(frames[0][corner], plain[corner]) > 1


def test_without_avatars_there_is_nothing_to_view() -> None:
    with pytest.raises(HeadworksError, match="at least one"):
        Studio([])


# From here on a real server and the browser's side of its protocol.


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def soon(promise: Callable[[], bool], seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while not promise():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture(scope="module")
def viewer(actors: list[Actor], tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    pytest.importorskip("viser", reason="the viewer needs viser: pip install 'headworks[viewer]'")
    from headworks.viewer import Viewer

    films = tmp_path_factory.mktemp("films")
    with Viewer(actors, port=free_port(), films=films, height=SIDE) as running:
        yield running


def test_the_server_listens_on_loopback_only(viewer) -> None:
    port = int(viewer.url.rsplit(":", 1)[1])
    assert viewer.url.startswith("http://127.0.0.1:")
    socket.create_connection(("127.0.0.1", port), 5).close()
    with pytest.raises(OSError, match="refused"):  # another address of this machine
        socket.create_connection(("127.0.0.2", port), 5)


def shaken(viewer, **headers: str) -> str:
    """The first line of the answer to a websocket's request with these headers."""
    port = int(viewer.url.rsplit(":", 1)[1])
    asked = {
        "Host": f"127.0.0.1:{port}", "Upgrade": "websocket", "Connection": "Upgrade",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version": "13", **headers,
    }  # fmt: skip
    lines = ["GET / HTTP/1.1", *(f"{k}: {v}" for k, v in asked.items()), "", ""]
    with socket.create_connection(("127.0.0.1", port), 5) as line:
        line.sendall("\r\n".join(lines).encode())
        return line.recv(200).decode().split("\r\n")[0]


def test_pages_of_other_sites_cannot_drive_the_viewer(viewer) -> None:
    own = viewer.url.removeprefix("http://")
    assert "101" in shaken(viewer)  # a program
    assert "101" in shaken(viewer, Origin=f"http://{own}")
    assert "101" in shaken(viewer, Host="localhost:9000", Origin="http://localhost:9000")  # ssh -L
    for origin in ("https://example.org", "null", "http://127.0.0.1:1", f"https://{own}"):
        assert "403" in shaken(viewer, Origin=origin), origin
    # A site that gave its name our address: its pages are of the origin that they ask.
    rebound = {"Host": "example.org:8080", "Origin": "http://example.org:8080"}
    assert "403" in shaken(viewer, **rebound)
    assert "403" in shaken(viewer, Host="example.org:8080")


def test_without_the_guard_no_server_starts() -> None:
    from headworks.viewer.door import guarded

    with pytest.raises(HeadworksError, match="keep other sites out"), guarded():
        pass


def test_a_slider_changes_the_picture_and_the_picture_is_the_state(viewer) -> None:
    from headworks.viewer.probe import Probe

    with Probe(viewer.url, FRONT, SIDE) as probe:

        def sharp() -> bool:  # a busy machine sends drafts first
            probe.listen(0.5)
            return probe.picture is not None and probe.picture.shape[0] == SIDE

        assert soon(sharp)
        before = probe.picture
        probe.set("Open jaw", 0.9)
        assert soon(lambda: viewer.loop.state.values == {("face", "Open jaw"): 0.9})
        probe.listen(1.0)
        assert soon(sharp)
        expected = viewer.studio.picture(viewer.loop.state, FRONT)
        assert difference(probe.picture, expected) < 2.0  # JPEG
        assert difference(probe.picture, expected) < 0.7 * difference(probe.picture, before)
        probe.set("Open jaw", 0.0)
        assert soon(lambda: viewer.loop.state.values == {})


def test_the_newest_camera_wins_and_rest_is_sharp(viewer) -> None:
    from headworks.viewer.probe import Probe

    with Probe(viewer.url, FRONT, SIDE) as probe:
        assert probe.listen(20, pictures=1)
        probe.listen(0.5)
        viewer.loop.scale = 0.5
        seen = probe.received
        views = [swung(FRONT, (0.0, 0.0, 0.0), 0.01 * k) for k in range(60)]
        for view in views:
            probe.look(view)
        probe.listen(1.5)
        assert probe.received - seen < len(views)
        assert min(probe.sizes[seen:]) < SIDE  # drafts while it moves
        assert probe.sizes[-1] == SIDE
        expected = viewer.studio.picture(viewer.loop.state, views[-1])
        assert difference(probe.picture, expected) < 2.0


def test_playing_goes_on_by_itself_and_seeking_moves_it(viewer) -> None:
    from headworks.viewer.probe import Probe

    with Probe(viewer.url, FRONT, SIDE) as probe:
        assert probe.listen(20, pictures=1)
        probe.set("Play", True)
        seen = probe.received
        assert probe.listen(20, pictures=seen + 5)
        probe.set("Play", False)
        assert soon(lambda: not viewer.loop.state.playing)
        probe.set("Time (s)", 0.7)
        assert soon(lambda: viewer.loop.state.time == 0.7)


def test_recording_writes_an_mp4_and_offers_it(viewer) -> None:
    import av

    from headworks.viewer.probe import Probe

    with Probe(viewer.url, FRONT, SIDE) as probe:
        assert probe.listen(20, pictures=1)
        probe.set("Record MP4", True)
        assert soon(lambda: len(viewer.films) == 1, 40)
        with av.open(str(viewer.films[0])) as container:
            assert sum(1 for _ in container.decode(video=0)) == 10
