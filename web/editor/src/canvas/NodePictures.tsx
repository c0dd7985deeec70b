import { firstShowing } from "../graph/shows";
import type { NodeId } from "../graph/types";
import { fileUrl } from "../server/api";
import { useCatalogue } from "../state/catalogueStore";
import { picturesOf } from "../state/runStore";
import type { NodeRun } from "../state/runs";
import { useDocument } from "../state/tabs";
import { useScope } from "../state/viewStore";
import { ExampleResult } from "../widgets/example/ExampleResult";
import { LivePlot } from "../widgets/livePlot/LivePlot";
import { ShownAll } from "../widgets/shown/ShownAll";
import { ShownText } from "../widgets/shown/ShownText";
import { shownBy } from "../widgets/shown/shown";
import css from "./canvas.module.css";

interface Props {
  id: NodeId;
  run: NodeRun | undefined;
  box: { y: number; height: number };
}

/** What an output node shows: pictures, else text. */
export function NodePictures({ id, run, box }: Props) {
  const attention = shownBy(run?.ui ?? []).filter((shown) => shown.ui === "attention");
  const pictures = attention.length ? [] : picturesOf(run?.ui ?? []);
  const isWorking = run?.state === "running" && Object.keys(run.figures).length > 0;
  const texts = shownBy(run?.ui ?? []).filter((shown) => shown.text);
  return (
    <div
      className={`${css.pictures} nodrag nowheel`}
      style={{ top: box.y, height: box.height }}
      data-count={Math.min(pictures.length, 4)}
    >
      {pictures.slice(0, 4).map(({ digest, name }) => (
        <img key={digest} src={fileUrl(digest)} alt={name} draggable={false} />
      ))}
      {pictures.length > 4 && <span className={css.more}>+{pictures.length - 4}</span>}
      {attention.map((shown) => (
        <ShownAll key={shown.text} shown={shown} />
      ))}
      {!pictures.length &&
        !attention.length &&
        texts.map(({ ui, text }) => <ShownText key={text} kind={ui} text={text} />)}
      {!pictures.length && !texts.length && isWorking && <LivePlot run={run} />}
      {!pictures.length && !texts.length && !isWorking && <NothingYet id={id} />}
    </div>
  );
}

/** Work in progress, as a picture and as curves: under the node, so that its size stays what was computed. */
export function LiveWork({ run }: { run: NodeRun | undefined }) {
  if (run?.state !== "running" || !(run.preview || Object.keys(run.figures).length)) return null;
  return (
    <div className={`${css.live} nodrag nowheel`}>
      {run.preview && <img src={run.preview} alt="Work in progress" draggable={false} />}
      <LivePlot run={run} />
    </div>
  );
}

function NothingYet({ id }: { id: NodeId }) {
  const catalogue = useCatalogue((state) => state.nodes);
  const scope = useScope();
  const example = useDocument(({ example, workflow }) =>
    example && scope === "" && firstShowing(workflow, catalogue) === id ? example : null,
  );
  return <ExampleResult example={example} otherwise="Run to see the result" />;
}
