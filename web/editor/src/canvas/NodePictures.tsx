import { fileUrl } from "../server/api";
import { picturesOf } from "../state/runStore";
import type { NodeRun } from "../state/runs";
import { ShownText } from "../widgets/shown/ShownText";
import { shownBy } from "../widgets/shown/shown";
import css from "./canvas.module.css";

interface Props {
  run: NodeRun | undefined;
  box: { y: number; height: number };
}

/** What an output node shows: pictures, else text. */
export function NodePictures({ run, box }: Props) {
  const pictures = picturesOf(run?.ui ?? []);
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
      {!pictures.length && texts.map(({ ui, text }) => <ShownText key={text} kind={ui} text={text} />)}
      {!pictures.length && !texts.length && <span className={css.empty}>Run to see the result</span>}
    </div>
  );
}

/** A picture of work in progress, under the node so that its size stays what was computed. */
export function LivePreview({ run }: { run: NodeRun | undefined }) {
  if (!run?.preview || run.state !== "running") return null;
  return <img className={css.live} src={run.preview} alt="Work in progress" draggable={false} />;
}
