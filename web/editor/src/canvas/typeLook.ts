/** How a socket type looks: a colour and a shape, so that colour is never alone. */

const COLORS: Readonly<Record<string, string>> = {
  IMAGE: "blue",
  LATENT: "pink",
  MASK: "green",
  MODEL: "purple",
  CLIP: "yellow",
  VAE: "red",
  CONDITIONING: "orange",
  PATCH: "violet",
  GUIDER: "cyan",
  SIGMAS: "lime",
  SAMPLER: "olive",
  NOISE: "slate",
  TRAJECTORY: "brown",
  PLOT: "teal",
  INT: "cyan",
  FLOAT: "cyan",
  STRING: "teal",
  BOOLEAN: "lime",
  JSON: "slate",
};
const TENSORS = new Set(["IMAGE", "LATENT", "MASK", "TRAJECTORY"]);
const OBJECTS = new Set(["MODEL", "CLIP", "VAE", "PATCH", "GUIDER", "SAMPLER", "CONTROL"]);

export type SocketShape = "circle" | "square" | "diamond";

/** Return the CSS colour of a type; a union has that of its first member. */
export function colorOf(type: string): string {
  return `var(--type-${COLORS[type.split("|")[0] ?? ""] ?? "slate"})`;
}

/** Circle: one value. Square: pictures and latents. Diamond: models and the like. */
export function shapeOfType(type: string): SocketShape {
  const first = type.split("|")[0] ?? "";
  if (TENSORS.has(first)) return "square";
  return OBJECTS.has(first) ? "diamond" : "circle";
}
