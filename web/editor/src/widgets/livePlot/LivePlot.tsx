/** The figures that a node reports while it works, such as its loss, drawn as they come. */

import { lazy, Suspense } from "react";
import type { NodeRun } from "../../state/runs";
import { shownBy } from "../shown/shown";

const LossPlot = lazy(async () => ({ default: (await import("../lossPlot/LossPlot")).LossPlot }));

export function LivePlot({ run }: { run: NodeRun | undefined }) {
  if (!run || !Object.keys(run.figures).length) return null;
  if (shownBy(run.ui).some((shown) => shown.ui === "plot")) return null; // it shows all of them itself
  return (
    <Suspense fallback={null}>
      <LossPlot series={run.figures} />
    </Suspense>
  );
}
