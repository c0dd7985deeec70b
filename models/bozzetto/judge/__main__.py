"""`python -m models.bozzetto.judge FILE...`: print what the judge reads in each picture, as JSON."""

import argparse
import json
import sys

import cv2
import numpy as np

from models.bozzetto.judge.read import read
from models.bozzetto.scenes import RESOLUTION


def picture(file: str) -> np.ndarray:
    """(128, 128, 3) uint8 of a file; a picture of another size is resized."""
    image = cv2.imread(file, cv2.IMREAD_COLOR)
    if image is None:
        raise FileNotFoundError(f"{file} is not a picture that can be read")
    if image.shape[:2] != (RESOLUTION, RESOLUTION):
        image = cv2.resize(image, (RESOLUTION, RESOLUTION), interpolation=cv2.INTER_AREA)
    return image[..., ::-1]


def main() -> None:
    """Read the files of the command line."""
    parser = argparse.ArgumentParser(prog="python -m models.bozzetto.judge", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE")
    files = parser.parse_args().files
    readings = read(np.stack([picture(f) for f in files]))
    rows = [{"file": f, **r.as_json()} for f, r in zip(files, readings, strict=True)]
    sys.stdout.write(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
