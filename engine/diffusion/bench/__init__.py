"""What the benches measure of networks: random Stable Diffusion weights, rates of the machine, both sides of a step."""
