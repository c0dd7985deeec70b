/** What a node says in words or curves. */

import { lazy, Suspense } from "react";
import { z } from "zod";
import styles from "./shown.module.css";

const LossPlot = lazy(async () => ({ default: (await import("../lossPlot/LossPlot")).LossPlot }));
const zPlot = z.object({
  series: z.record(z.string(), z.array(z.tuple([z.number(), z.number()]))),
  x_label: z.string().default("step"),
  y_label: z.string().default("value"),
});

/** Return the curves that a text of kind `plot` holds, as JSON. */
export function readPlot(text: string): z.infer<typeof zPlot> | null {
  try {
    return zPlot.safeParse(JSON.parse(text)).data ?? null;
  } catch {
    return null;
  }
}

export function ShownText({ kind, text }: { kind: string; text: string }) {
  const plot = kind === "plot" ? readPlot(text) : null;
  if (!plot) return <pre className={styles.words}>{text}</pre>;
  return (
    <Suspense fallback={null}>
      <LossPlot series={plot.series} xLabel={plot.x_label} yLabel={plot.y_label} />
    </Suspense>
  );
}
