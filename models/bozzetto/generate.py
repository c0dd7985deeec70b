"""`python -m models.bozzetto.generate "PROMPT" --seed S --out FILE`: a picture, or a sheet of several prompts."""

import argparse

import cv2
import numpy as np

from models.bozzetto.evaluate import generate
from models.bozzetto.sampling import load

_COLUMNS = 10


def sheet(images: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 sheet of (N, 128, 128, 3) pictures, ten in a row, white where there are too few."""
    columns = min(len(images), _COLUMNS)
    missing = -len(images) % columns
    padded = np.concatenate([images, np.full((missing, *images.shape[1:]), 255, np.uint8)])
    return np.vstack([np.hstack(list(padded[i : i + columns])) for i in range(0, len(padded), columns)])


def main() -> None:
    """Read the command line, make the pictures, write the file."""
    parser = argparse.ArgumentParser(prog="python -m models.bozzetto.generate", description=__doc__)
    parser.add_argument("prompts", nargs="+", metavar="PROMPT")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True, metavar="FILE")
    parser.add_argument("--steps", type=int, default=20, help="DDIM steps")
    parser.add_argument("--guidance", type=float, default=4.0, help="classifier-free guidance; 1 = none")
    args = parser.parse_args()
    images = generate(load(), args.prompts, steps=args.steps, guidance=args.guidance, seed=args.seed)
    if not cv2.imwrite(args.out, sheet(images)[..., ::-1]):
        raise OSError(f"cannot write {args.out}")


if __name__ == "__main__":
    main()
