import css from "./canvas.module.css";

export function EmptyHint() {
  return (
    <p className={css.emptyHint}>
      Double-click to add a node, or press Space. Drop a picture or a workflow file to open it.
    </p>
  );
}
