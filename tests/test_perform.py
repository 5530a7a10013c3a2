"""Performances, light and camera: continuous, bounded, and independent of the actor."""

import io
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceswap_lab.actors.cast import Actor
from faceswap_lab.actors.head.rig import load_rig
from faceswap_lab.actors.performance.acting import EMOTIONS, PROFILE_YAW, emotion_at
from faceswap_lab.actors.performance.lights import LIGHTS, light_of
from faceswap_lab.actors.performance.motion import pair
from faceswap_lab.actors.performance.performance import KINDS, Performance
from faceswap_lab.actors.render import capture
from faceswap_lab.actors.render.capture import CAPTURES, CaptureKind, camera_of, develop, group_of
from faceswap_lab.actors.render.scene import travel
from faceswap_lab.faces.frame import Image
from faceswap_lab.verbs.people import record_of, reopened

CONTINUOUS = [kind for kind in KINDS if kind not in ("range", "still")]
CAMERAS = [kind for kind in CAPTURES if kind not in ("plain", "clean")]


@settings(max_examples=60, deadline=None)
@given(kind=st.sampled_from(CONTINUOUS), seed=st.integers(0, 2**31 - 1), start=st.floats(0, 120))
def test_motion_has_no_jumps(kind: str, seed: int, start: float) -> None:
    performance = Performance(kind=kind, seed=seed)  # type: ignore[arg-type]
    before, after = performance.view(0, start), performance.view(0, start + 0.001)
    for name in {*before.actions, *after.actions}:
        assert abs(before.actions.get(name, 0.0) - after.actions.get(name, 0.0)) < 0.03, name
    assert max(abs(before.yaw - after.yaw), abs(before.pitch - after.pitch), abs(before.roll - after.roll)) < 0.012
    assert np.abs(np.subtract(before.offset_m, after.offset_m)).max() < 1e-3
    assert (before.light, before.background_seed) == (after.light, after.background_seed)


def test_emotions_use_known_actions_and_all_occur() -> None:
    names = set(load_rig().action_names)
    for emotion in EMOTIONS.values():
        assert {part for name in emotion for part in pair(name, 1.0)} <= names | {"eyeBlink"}
    played = {emotion_at(seed, beat * 1.7 + 1.0)[1] for seed in range(6) for beat in range(60)}
    assert played == set(EMOTIONS)


def test_a_turn_goes_from_profile_to_profile() -> None:
    yaws = [Performance(kind="turn", seed=5).view(i, i / 10).yaw for i in range(100)]
    assert max(yaws) > 0.98 * PROFILE_YAW
    assert min(yaws) < -0.98 * PROFILE_YAW


@pytest.mark.slow
def test_fast_is_faster_than_speech() -> None:
    def speed(kind: str) -> float:
        views = [Performance(kind=kind, seed=2).view(i, i / 100) for i in range(600)]  # type: ignore[arg-type]
        return max(abs(a.yaw - b.yaw) for a, b in pairwise(views)) * 100

    assert speed("fast") > 3.0, "radians a second"
    assert speed("speech") < 1.5


# --- light --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in LIGHTS if kind != "auto"])
def test_every_light_gives_a_reasonable_exposure(kind: str) -> None:
    for seed in range(8):
        light = light_of(kind, seed, 0.4)  # type: ignore[arg-type]
        assert abs(np.linalg.norm(light.key_direction) - 1) < 1e-9
        assert min(*light.key_colour, *light.ambient_high, *light.ambient_low, light.fill, light.rim) >= 0
    face = Actor(7).perform("still", seconds=1, fps=1, size=64, seed=3, light=kind).rendered(0)
    level = face.image[face.face_mask > 0.9].mean()
    assert 10 < level < 245


@pytest.mark.slow
def test_lights_differ_and_only_moving_light_moves() -> None:
    pictures = {kind: Actor(7).perform("still", seconds=1, fps=1, size=48, seed=3, light=kind)[0].image for kind in LIGHTS}
    assert len({picture.tobytes() for picture in pictures.values()}) == len(LIGHTS)
    for kind in LIGHTS[1:]:
        same = light_of(kind, 3, 0.0) == light_of(kind, 3, 1.0)
        assert same == (kind != "moving")
    steps = [np.array(light_of("moving", 3, 0.01 * i).key_direction) for i in range(500)]
    assert max(np.linalg.norm(a - b) for a, b in pairwise(steps)) < 0.05


@pytest.mark.slow
def test_coloured_light_colours_the_two_sides_of_a_face_differently() -> None:
    truth = Actor(7).perform("still", seconds=1, fps=1, size=128, seed=6, light="coloured").rendered(0)
    middle = truth.landmarks68[27, 0]
    columns = np.indices(truth.face_mask.shape)[1]
    inside = truth.face_mask > 0.9
    left, right = (truth.image[inside & side].mean(0) for side in (columns < middle, columns > middle))
    assert np.abs(left / left.sum() - right / right.sum()).max() > 0.02


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"light": "disco"}, "studio"),
        ({"capture": "vhs"}, "webcam"),
        ({"fov_deg": 120}, "80"),
        ({"shutter": 2.0}, r"0\.\.1"),
        ({"capture_seed": -1}, "seed"),
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Actor(7).perform("speech", **wrong)  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_wide_angle_enlarges_the_nose_and_keeps_the_framing() -> None:
    near, far = (Actor(7).perform("still", size=160, fov_deg=fov).rendered(0) for fov in (60, 10))

    def nose(truth: object) -> float:
        points = truth.landmarks68  # type: ignore[attr-defined]
        return float(np.linalg.norm(points[31] - points[35]) / np.linalg.norm(points[36] - points[45]))

    assert nose(near) > 1.04 * nose(far)
    assert np.linalg.norm(near.landmarks68[27] - far.landmarks68[27]) < 8


# --- what a take records ------------------------------------------------------------------------------------------------------


def test_options_are_in_the_origin_and_restored_from_a_record() -> None:
    take = Actor(7).perform(
        "fast", seconds=0.4, size=64, seed=9, light="side", fov_deg=40, capture="phone", capture_seed=4, shutter=0.2
    )
    assert take.origin == "actor:7/fast:9@64x64,25fps,light=side,fov_deg=40,capture=phone,capture_seed=4,shutter=0.2,frames=10"
    for each in (take, take.recast(Actor(21), tone="target"), Actor(7).perform("fast", seconds=1)):
        assert reopened(record_of(each)) == each
    assert take.clean().recast(Actor(21)) == take.recast(Actor(21)).clean()
    assert len({Actor(7).perform("still", light=light).origin for light in LIGHTS}) == len(LIGHTS)


# --- motion blur --------------------------------------------------------------------------------------------------------------


def fastest() -> tuple[int, Performance]:
    performance = Performance(kind="fast", seed=2)
    speeds = [travel(performance.view(i, i / 25 - 0.01), performance.view(i, i / 25 + 0.01), size=128) for i in range(100)]
    return int(np.argmax(speeds)), performance


@pytest.mark.slow
def test_fast_motion_is_blurred_and_its_truth_is_that_of_mid_exposure() -> None:
    index, performance = fastest()
    sharp = Actor(7).perform("fast", seed=2, size=128, shutter=0.0, capture="clean").rendered(index)
    blurred = Actor(7).perform("fast", seed=2, size=128, shutter=0.5, capture="clean").rendered(index)
    assert travel(performance.view(index, index / 25 - 0.01), performance.view(index, index / 25 + 0.01), size=128) > 3
    assert np.array_equal(sharp.landmarks68, blurred.landmarks68)
    assert np.array_equal(sharp.depth, blurred.depth)
    detail = [np.abs(np.diff(each.image.astype(float), axis=1))[each.face_mask[:, 1:] > 0.9].mean() for each in (sharp, blurred)]
    assert detail[1] < 0.85 * detail[0]
    assert ((blurred.face_mask > 0.02) & (blurred.face_mask < 0.98)).sum() / (blurred.face_mask > 0.5).sum() > 0.05


@pytest.mark.slow
def test_a_still_head_is_not_blurred_at_any_shutter() -> None:
    plain, long = (Actor(7).perform("still", seconds=1, size=64, shutter=shutter)[0].image for shutter in (0.0, 1.0))
    assert np.array_equal(plain, long)


# --- sensor and codec ---------------------------------------------------------------------------------------------------------


def moving_blobs(size: int = 96) -> list[Image]:
    """Three frames of smooth moving blobs."""
    y, x = np.mgrid[:size, :size] / size
    return [
        np.stack([127 + 100 * np.sin(9 * x + t), 127 + 100 * np.sin(7 * y - t), 90 + 60 * x * y], 2).astype(np.uint8)
        for t in (0.0, 0.1, 0.2)
    ]


@pytest.mark.parametrize("kind", CAMERAS)
def test_a_camera_changes_the_image_slightly_and_deterministically(kind: str) -> None:
    images = moving_blobs()
    one, two = (develop(images, kind, seed=3, first=12, fps=25) for _ in range(2))  # type: ignore[arg-type]
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    other = develop(images, kind, seed=4, first=12, fps=25)  # type: ignore[arg-type]
    assert not np.array_equal(one[0], other[0])
    difference = np.abs(np.stack(one).astype(float) - np.stack(images)).mean()
    assert 1 < difference < 40


def test_noise_differs_per_frame_and_depends_on_the_frame_index() -> None:
    still = [moving_blobs()[0]] * 2
    first, second = develop(still, "photo", seed=3, first=0, fps=25)
    assert not np.array_equal(first, second)
    assert np.array_equal(develop(still[:1], "photo", seed=3, first=1, fps=25)[0], second)


def test_stronger_compression_gives_larger_errors() -> None:
    images = moving_blobs()

    def error(rate: int) -> float:
        return float(np.abs(np.stack(capture._h264(images, rate, 25.0)).astype(float) - np.stack(images)).mean())

    assert error(18) < error(30) < error(45)
    assert (
        np.abs(capture.jpeg(images[0], 30).astype(float) - images[0]).mean()
        > np.abs(capture.jpeg(images[0], 95).astype(float) - images[0]).mean()
    )


def test_odd_sizes_survive_the_codec() -> None:
    odd = [image[:61, :63] for image in moving_blobs()]
    assert [each.shape for each in capture._h264(odd, 25, 25.0)] == [(61, 63, 3)] * 3


def test_white_balance_is_warm_or_cold() -> None:
    assert len({round(camera_of("webcam", seed).red, 3) for seed in range(5)}) == 5
    with pytest.raises(ValueError, match="no camera"):
        camera_of("clean", 0)


@pytest.mark.slow
def test_a_captured_frame_does_not_depend_on_the_reading_order() -> None:
    clip = Actor(7).perform("speech", seconds=0.56, size=64, capture="webcam", capture_seed=2)
    late = clip[13].image
    capture_groups = {group_of("webcam", row) for row in range(14)}
    assert capture_groups == {range(12), range(12, 24)}
    fresh = replace(clip, num_frames=14)
    assert np.array_equal([frame.image for frame in fresh.frames()][13], late)
    truth = clip.rendered(13)
    assert np.array_equal(truth.landmarks68, clip.clean().rendered(13).landmarks68)
    assert not np.array_equal(truth.image, clip.clean().rendered(13).image)
    assert io.BytesIO(late.tobytes()).getbuffer().nbytes == 64 * 64 * 3


@pytest.mark.parametrize("kind", CAPTURES)
def test_takes_of_one_origin_have_the_same_pixels_and_other_pixels_have_another_origin(kind: CaptureKind) -> None:
    short, long = (Actor(7).perform("speech", seconds=seconds, size=64, capture=kind) for seconds in (0.08, 0.2))
    same_pixels = bool((short[0].image == long[0].image).all())
    assert same_pixels == (short.origin == long.origin)
    assert same_pixels == (kind in ("plain", "clean", "photo"))


def test_what_takes_hand_out_cannot_be_changed_for_later_readers() -> None:
    for kind in ("plain", "clean", "photo", "webcam"):
        take = Actor(7).perform("speech", seconds=0.04, size=64, capture=kind)
        before = take[0].image.copy()
        rendered = take.rendered(0)
        arrays = [
            value
            for name in ("image", "landmarks68", "keypoints5", "visible68", "face_mask", "depth", "box", "head_to_camera", "camera")
            if (value := getattr(rendered, name)) is not None
        ]
        arrays += [take[0].image, rendered.maps.labels, rendered.maps.normals, rendered.maps.albedo]
        for array in arrays:
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0
        np.testing.assert_array_equal(take[0].image, before)
