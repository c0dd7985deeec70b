"""`python -m models.bozzetto.train WHAT`: train one part, from its last checkpoint when there is one."""

import argparse
from functools import partial

from models.bozzetto.train import ranks
from models.bozzetto.train.recipes import RECIPES, work


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(prog="python -m models.bozzetto.train", description=__doc__)
    parser.add_argument("what", choices=(*RECIPES, "gate", "latents", "export"))
    parser.add_argument("--ranks", type=int, default=1, help="processes of one thread each that share a step")
    parser.add_argument("--threads", type=int, default=1, help="threads when there is one rank")
    parser.add_argument("--minutes", type=float, default=1e9, help="stop (and save) after this time")
    parser.add_argument("--steps", type=int, help="train up to this step")
    parser.add_argument("--batch", type=int, help="samples of a step, over all ranks")
    parser.add_argument("--decay", type=int, help="steps of linear decay before the last step")
    parser.add_argument("--seed", type=int, help="start of every random number")
    parser.add_argument("--compile", action="store_true", default=None, help="unet: a fifth faster, after minutes")
    parser.add_argument("--part", type=int, default=0, help="latents: this process's share of the shards ...")
    parser.add_argument(
        "--parts", type=int, default=1, help="... out of so many processes; --steps says how many shards"
    )
    args = parser.parse_args()
    if args.what == "export":
        from models.bozzetto.train.export import export

        export()
    elif args.what == "gate":
        from models.bozzetto.train.gate import gate

        gate()
    elif args.what == "latents":
        from models.bozzetto.train.latents import build

        build(args.steps or 10, args.part, args.parts)
    else:
        changes = {k: v for k in ("steps", "batch", "decay", "seed", "compile") if (v := getattr(args, k)) is not None}
        ranks.start(partial(work, args.what, changes, args.minutes), args.ranks, args.threads)


if __name__ == "__main__":
    main()
