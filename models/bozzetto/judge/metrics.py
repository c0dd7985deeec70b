"""Metrics between pictures, and between sets of pictures. Pictures are (H, W, 3) uint8 unless said otherwise."""

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from models.bozzetto.judge.network import Judge
from models.bozzetto.judge.read import load


def masked_psnr(a: np.ndarray, b: np.ndarray, mask: np.ndarray, *, margin: int = 0) -> float:
    """PSNR in dB over the pixels where `mask` (H, W) is true and at least `margin` pixels from where it is not."""
    if margin:
        outside = cv2.dilate((~mask).astype(np.uint8), np.ones((2 * margin + 1, 2 * margin + 1), np.uint8))
        mask = outside == 0
    if not mask.any():
        raise ValueError("the mask selects no pixel, so there is nothing to compare")
    error = np.square(a[mask].astype(np.float64) - b[mask]).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def edge_f1(edges: np.ndarray, truth: np.ndarray, *, tolerance: float = 1.5) -> float:
    """F1 of two (H, W) bool edge maps; an edge pixel is matched within `tolerance` pixels."""

    def matched(a: np.ndarray, b: np.ndarray) -> float:
        if not a.any():
            return 1.0
        if not b.any():
            return 0.0
        distance = cv2.distanceTransform((~b).astype(np.uint8), cv2.DIST_L2, 5)
        return float((distance[a] <= tolerance).mean())

    precision, recall = matched(edges, truth), matched(truth, edges)
    return 2 * precision * recall / max(precision + recall, 1e-9)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two bool masks of one shape; 1 when both are empty."""
    union = (a | b).sum()
    return float((a & b).sum() / union) if union else 1.0


def keypoints_correct(found: np.ndarray, truth: np.ndarray, *, side: float, share: float = 0.1) -> float:
    """PCK: share of (n, 2) points within `share` of the object's `side` of where they should be."""
    return float((np.linalg.norm(found - truth, axis=-1) <= share * side).mean())


@torch.no_grad()
def features(images: np.ndarray, network: Judge | None = None) -> np.ndarray:
    """(N, 608) features of whole pictures (N, 128, 128, 3), from the judge."""
    net = network or load()
    x = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return torch.cat([net.features(part)[1] for part in x.split(32)]).numpy()


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """Frechet distance of Gaussians fitted to two sets of features (N, d) (Heusel et al. 2017, eq. 6).

    Covariances of fewer pictures than features are singular, so each is shrunk by 1e-3 of its mean variance.
    """
    from scipy.linalg import sqrtm

    def fit(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        covariance = np.cov(x.astype(np.float64), rowvar=False)
        return x.mean(0), covariance + np.eye(len(covariance)) * 1e-3 * np.trace(covariance) / len(covariance)

    (mean_a, cov_a), (mean_b, cov_b) = fit(a), fit(b)
    root = np.real(sqrtm(cov_a @ cov_b))
    return float(np.square(mean_a - mean_b).sum() + np.trace(cov_a + cov_b - 2 * root))


def diversity(vectors: np.ndarray) -> float:
    """Mean distance (1 - cosine) over all pairs of (N, d) features of pictures made from one prompt."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    n = len(unit)
    return float(1 - ((unit @ unit.T).sum() - n) / (n * (n - 1)))


def feature_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) perceptual distance of picture pairs in the judge's features of places (a stand-in for LPIPS)."""
    net = load()
    with torch.no_grad():
        pair = [
            net.features(torch.from_numpy(np.ascontiguousarray(x)).permute(0, 3, 1, 2).float() / 127.5 - 1)[0]
            for x in (a, b)
        ]
        unit = [F.normalize(p, dim=1) for p in pair]
        return (unit[0] - unit[1]).square().sum(1).mean((1, 2)).numpy()


def nearest(images: np.ndarray, references: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N,) index of, and (N,) normalised correlation with, the most similar reference picture, at 32 x 32.

    Above .95 a generated picture is close to being a copy: the memorisation alarm.
    """

    def standard(batch: np.ndarray) -> np.ndarray:
        small = np.stack([cv2.resize(im, (32, 32), interpolation=cv2.INTER_AREA) for im in batch]).astype(np.float32)
        flat = small.reshape(len(small), -1)
        flat = flat - flat.mean(1, keepdims=True)
        return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)

    correlation = standard(images) @ standard(references).T
    return correlation.argmax(1), correlation.max(1)


def direction(image_change: np.ndarray, text_change: np.ndarray) -> np.ndarray:
    """(N,) CLIP-direction: cosine of the change of image embeddings (N, 64) with that of text embeddings (N, 64)."""
    product = (image_change * text_change).sum(-1)
    return product / np.maximum(np.linalg.norm(image_change, axis=-1) * np.linalg.norm(text_change, axis=-1), 1e-9)
