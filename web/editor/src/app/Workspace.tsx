/** The canvas of the active document. */
export function Workspace() {
  return null;
}
