"""An articulated puppet whose 17 joints are known exactly (COCO's order), in any pose, colour and style."""

from functools import lru_cache

import cv2
import numpy as np

from models.bozzetto.scenes.vocabulary import COLOURS

JOINTS = (
    "nose", "left eye", "right eye", "left ear", "right ear", "left shoulder", "right shoulder", "left elbow",
    "right elbow", "left wrist", "right wrist", "left hip", "right hip", "left knee", "right knee", "left ankle",
    "right ankle",
)  # fmt: skip
LIMBS = (
    (5, 7),
    (7, 9),
    (6, 8),
    (8, 10),
    (11, 13),
    (13, 15),
    (12, 14),
    (14, 16),
    (5, 6),
    (11, 12),
    (5, 11),
    (6, 12),
)
POSES = ("standing", "waving", "jumping", "walking")
_WOOD = (222, 178, 122)
_SCALE = 3  # drawn at three times the size, then reduced

# Angles in degrees from straight down, positive outwards: shoulder, elbow, hip, knee of the left and right side.
_ANGLES = {
    "standing": ((14, 4, 6, 0), (14, 4, 6, 0)),
    "waving": ((150, 20, 6, 0), (16, 6, 6, 0)),
    "jumping": ((140, -10, 34, -50), (140, -10, 34, -50)),
    "walking": ((36, -24, 30, -16), (-10, -22, -14, -20)),
}


def pose_name(pose: int) -> str:
    """The word of a pose number."""
    return POSES[pose % len(POSES)]


def joints(pose: int, side: int = 1) -> np.ndarray:
    """(17, 2) positions x, y of the joints in a square of `side`; left is the puppet's left (the viewer's right)."""
    r = np.random.default_rng((31, pose))
    angles = np.radians(np.array(_ANGLES[pose_name(pose)], float) + r.normal(0, 9, (2, 4)))
    lean = r.normal(0, 0.02)
    out = np.zeros((17, 2))
    head = np.array([0.5 + lean, 0.17])
    out[0] = head + np.array([0, 0.015])
    out[1:5] = head + np.array([(0.045, -0.02), (-0.045, -0.02), (0.1, 0.0), (-0.1, 0.0)])
    for i, sign in ((0, 1), (1, -1)):
        shoulder, hip = np.array([0.5 + lean + sign * 0.12, 0.34]), np.array([0.5 + sign * 0.075, 0.62])
        upper, fore, thigh, shin = angles[i] * sign
        elbow = shoulder + 0.16 * np.array([np.sin(upper), np.cos(upper)])
        wrist = elbow + 0.15 * np.array([np.sin(upper + fore), np.cos(upper + fore)])
        knee = hip + 0.18 * np.array([np.sin(thigh), np.cos(thigh)])
        ankle = knee + 0.17 * np.array([np.sin(thigh + shin), np.cos(thigh + shin)])
        for base, point in ((5, shoulder), (7, elbow), (9, wrist), (11, hip), (13, knee), (15, ankle)):
            out[base + i] = point
    out[:, 1] -= out[15:, 1].max()  # from the feet up, with room for a raised hand
    out = np.array([0.5, 0.94]) + 0.9 * (out - (0.5, 0.0))
    return np.clip(out, 0.05, 0.95) * side


def _ink(colour: tuple[int, int, int], style: str) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Fill, outline and outline width (in 1/100 of the side) of a part of this colour in a source."""
    if style == "ink":
        return (250, 250, 250), (20, 20, 22), 3
    if style == "cartoon":
        return colour, (28, 24, 30), 3
    return colour, tuple(int(c * 0.62) for c in colour), 1


def _capsules(
    canvas: np.ndarray,
    points: np.ndarray,
    pairs: tuple[tuple[int, int], ...],
    width: float,
    paint: tuple[int, ...],
) -> None:
    for a, b in pairs:
        start, end = (tuple(int(v) for v in points[i]) for i in (a, b))
        cv2.line(canvas, start, end, (*paint, 255), max(1, int(width)), cv2.LINE_AA)


def _lit(canvas: np.ndarray) -> np.ndarray:
    """Round shading from the distance to the outline, light from the upper left."""
    depth = cv2.distanceTransform((canvas[..., 3] > 127).astype(np.uint8), cv2.DIST_L2, 5)
    depth = cv2.GaussianBlur(np.sqrt(depth), (0, 0), 3)
    slope = cv2.Sobel(depth, cv2.CV_32F, 1, 0, ksize=5) + cv2.Sobel(depth, cv2.CV_32F, 0, 1, ksize=5)
    shade = np.clip(1 + 0.006 * slope, 0.7, 1.3)[..., None]
    return np.dstack([np.clip(canvas[..., :3] * shade, 0, 255), canvas[..., 3]]).astype(np.uint8)


@lru_cache(maxsize=8192)
def puppet(source: str, colour: str | None, pose: int, side: int) -> np.ndarray:
    """(side, side, 4) uint8 puppet: clothes in `colour` (blue when None), wooden head, hands and feet."""
    n = side * _SCALE
    at = joints(pose, n)
    canvas = np.zeros((n, n, 4), np.uint8)
    cloth, edge, line = _ink(COLOURS[colour or "blue"], source)
    wood, wood_edge, _ = _ink(_WOOD, source)
    grow = 2 * line * n / 100
    torso = at[[5, 6, 12, 11]].astype(np.int32)
    centre, radius = tuple(int(v) for v in (at[3] + at[4]) / 2), int(0.105 * n)
    for extra, fill, skin in ((grow, edge, wood_edge), (0.0, cloth, wood)):
        _capsules(canvas, at, LIMBS[4:8], 0.1 * n + extra, fill)
        cv2.polylines(canvas, [torso], True, (*fill, 255), int(0.07 * n + extra), cv2.LINE_AA)
        cv2.fillPoly(canvas, [torso], (*fill, 255), cv2.LINE_AA)
        _capsules(canvas, at, LIMBS[:4], 0.085 * n + extra, fill)
        for joint in (9, 10, 15, 16):
            cv2.circle(
                canvas,
                tuple(int(v) for v in at[joint]),
                int(0.048 * n + extra / 2),
                (*skin, 255),
                -1,
                cv2.LINE_AA,
            )
        cv2.circle(canvas, centre, int(radius + extra / 2), (*skin, 255), -1, cv2.LINE_AA)
    for eye in (1, 2):
        cv2.circle(canvas, tuple(int(v) for v in at[eye]), max(1, int(0.018 * n)), (30, 26, 30, 255), -1, cv2.LINE_AA)
    mouth = (int(at[0][0]), int(at[0][1] + 0.025 * n))
    cv2.ellipse(
        canvas,
        mouth,
        (int(0.03 * n), int(0.018 * n)),
        0,
        0,
        180,
        (150, 50, 50, 255),
        max(1, n // 90),
        cv2.LINE_AA,
    )
    out = _lit(canvas) if source == "3d" else canvas
    return cv2.resize(out, (side, side), interpolation=cv2.INTER_AREA)
