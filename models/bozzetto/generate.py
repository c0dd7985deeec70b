"""`python -m models.bozzetto.generate "PROMPT" --seed S --out FILE`: one picture from a prompt."""

import argparse

import cv2

from models.bozzetto.evaluate import generate
from models.bozzetto.sampling import load


def main() -> None:
    """Read the command line, make the picture, write the file."""
    parser = argparse.ArgumentParser(prog="python -m models.bozzetto.generate", description=__doc__)
    parser.add_argument("prompt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", required=True, metavar="FILE")
    parser.add_argument("--steps", type=int, default=20, help="DDIM steps")
    parser.add_argument("--guidance", type=float, default=3.0, help="classifier-free guidance; 1 = none")
    args = parser.parse_args()
    image = generate(load(), [args.prompt], steps=args.steps, guidance=args.guidance, seed=args.seed)[0]
    if not cv2.imwrite(args.out, image[..., ::-1]):
        raise OSError(f"cannot write {args.out}")


if __name__ == "__main__":
    main()
