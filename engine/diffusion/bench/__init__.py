"""What the benches measure of networks: random Stable Diffusion weights, rates of the machine, both sides of a step."""

FILE = "sd15-random.safetensors"
PROMPT, NEGATIVE = "a lighthouse on a cliff at dusk", "blurry"
SEED, SCALE = 7, 7.5
