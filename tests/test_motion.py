"""Synthetic people move as people do."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from headworks.heads import load_head
from headworks.synthetic import curves
from headworks.synthetic.motion import coefficients, faces, held, joined, performed, talking
from headworks.synthetic.scripts import PRESETS, SCRIPTS

FINE = np.arange(0, 60, 0.001)


def spans(signal: np.ndarray, level: float, step: float) -> np.ndarray:
    """Durations for which a signal stays above a level, seconds."""
    above = np.concatenate([[0], (signal > level).astype(int), [0]])
    edges = np.diff(above)
    return (np.flatnonzero(edges < 0) - np.flatnonzero(edges > 0)) * step


def test_a_stroke_starts_and_ends_at_rest():
    share = np.linspace(-0.5, 1.5, 2001)
    path = curves.minimum_jerk(share)
    assert path[0] == 0
    assert path[-1] == 1
    assert (np.diff(path) >= 0).all()
    speed = np.gradient(path, share)
    assert np.abs(np.gradient(speed, share)).max() < 6, "no kick at either end"


def test_blinks_last_as_long_as_lids_take_and_fall_faster_than_they_rise():
    shut = curves.blinks(FINE, 60.0, curves.BLINKS_TALK_HZ, np.random.default_rng(0))
    lasts = spans(shut, 1e-6, 0.001)
    assert lasts.min() > 0.15
    assert lasts.max() < 0.40
    assert shut.max() > 0.999, "the lids meet"
    assert 12 <= len(lasts) <= 45
    falling, rising = (np.diff(shut) > 1e-9).sum(), (np.diff(shut) < -1e-9).sum()
    assert rising > 1.5 * falling


def test_eyes_jump_along_the_main_sequence_and_rest_in_between():
    gaze = curves.saccades(FINE, 60.0, (0.15, 0.25), np.random.default_rng(1))
    speed = np.linalg.norm(np.diff(gaze, axis=0), axis=1) / 0.001
    assert (speed < 1e-6).mean() > 0.85, "they rest most of the time"
    moving = spans(speed, 1e-6, 0.001)
    assert moving.max() < 0.09
    assert np.degrees(speed.max()) > 100, "and are fast when they move"
    assert np.abs(gaze).max(0)[0] <= 0.15 + 1e-9


def test_mouths_open_at_the_rate_of_syllables_and_close_for_p_b_and_m():
    sounds, _ = curves.speech(FINE, 60.0, np.random.default_rng(2))
    jaw = sum(v.face.get("jawOpen", 0.0) * w for v, w in sounds)
    frequency = np.fft.rfftfreq(len(FINE), 0.001)
    power = np.abs(np.fft.rfft(jaw - jaw.mean())) ** 2
    spoken = (frequency > 2) & (frequency < 7)
    assert power[spoken].sum() > 0.35 * power[frequency > 0.5].sum()
    assert power[spoken].sum() > 3 * power[frequency > 7].sum(), "no trembling"
    closed = [w for v, w in sounds if v.strength > 5]
    assert closed
    peak = np.array([w.argmax() for w in closed])
    assert np.median(jaw[peak]) < 0.06, "lips meet while their sound is spoken"
    assert jaw.max() > 0.3


@pytest.mark.parametrize("script", [*SCRIPTS, "FREE"])
def test_a_performance_is_one_whatever_the_frame_rate(script):
    head = load_head("procedural")
    slow = performed(head, script, 12, 6.0, np.random.default_rng(3))
    fast = performed(head, script, 48, 24.0, np.random.default_rng(3))
    assert torch.allclose(slow.expression, fast.expression[::4], atol=1e-6)
    assert torch.allclose(slow.pose.neck, fast.pose.neck[::4], atol=1e-6)
    assert fast.expression.min() >= 0
    assert fast.expression.max() <= 1.5
    still = (fast.expression - fast.expression[:1]).abs().max() + fast.pose.neck.abs().max()
    assert still > 0.3, "something is shown"


def test_expressions_rise_and_fall_no_faster_than_faces_do():
    head = load_head("procedural")
    motion = performed(head, "EMO-4-disgust+happy", 1000, 100.0, np.random.default_rng(4))
    smile = motion.expression[:, head.expression_index("mouthSmileLeft")].numpy()
    assert smile.max() > 0.5
    # A minimum-jerk stroke of 0.3 s and height 1 peaks at 1.875 / 0.3 per second.
    assert np.abs(np.diff(smile)).max() * 100 < 1.875 / 0.3 * 1.1
    assert spans(smile, 0.3, 0.01).min() > 0.5


def test_eyes_stay_on_the_listener_while_the_head_turns():
    head = load_head("procedural")
    motion = talking(head, 400, 25.0, np.random.default_rng(5))
    yaw, eyes = motion.pose.neck[:, 1].numpy(), motion.pose.eyes[:, 0, 1].numpy()
    assert np.ptp(yaw) > 0.4
    assert np.corrcoef(yaw, eyes)[0, 1] < -0.5
    assert np.abs(eyes).max() <= 0.53


def test_random_faces_differ_and_stay_within_what_a_face_can_do():
    head = load_head("procedural")
    motion = faces(head, 50, np.random.default_rng(6))
    assert motion.expression.min() >= 0
    assert motion.expression.max() <= 1.5
    distance = torch.cdist(motion.expression, motion.expression) + 9 * torch.eye(50)
    assert distance.min() > 0.02
    used = (motion.expression > 0.1).any(0).float().mean()
    assert used > 0.9, "every muscle has its turn"
    left = head.expression_index("mouthSmileLeft")
    right = head.expression_index("mouthSmileRight")
    even = (motion.expression[:, left] - motion.expression[:, right]).abs() < 1e-6
    assert even.float().mean() > 0.8, "sides move together but for winks and sneers"


def test_scripts_ask_only_for_what_the_head_can_show():
    head = load_head("procedural")
    for face in (*PRESETS.values(), *(act.face for acts in SCRIPTS.values() for act in acts)):
        coefficients(head, face)
    for viseme in (*curves.VOWELS, *curves.CONSONANTS):
        coefficients(head, viseme.face)
    assert coefficients(head, {"wiggleEars": 1.0}, strict=False).max() == 0
    with pytest.raises(KeyError, match="EMO-1"):
        performed(head, "EXP-99", 4, 4.0, np.random.default_rng(0))


def test_motions_join_end_to_end():
    head = load_head("procedural")
    rng = np.random.default_rng(7)
    both = joined([held(head, 3, rng), faces(head, 2, rng)])
    assert len(both.expression) == len(both.pose.neck) == len(both.names) == 5
