import { useView } from "../state/viewStore";

/** What screen readers say when something happened that the eye sees elsewhere. */
export function LiveRegion() {
  const { text, count } = useView((view) => view.announcement);
  return (
    <div className="hidden" role="status" aria-live="polite">
      <span key={count}>{text}</span>
    </div>
  );
}
