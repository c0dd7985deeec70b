/** Key names: what was pressed, and how it is shown. */

const isMac = typeof navigator !== "undefined" && /Mac|iPhone|iPad/.test(navigator.userAgent);

/** Write what was pressed as `Mod+Shift+Z`. */
export function pressed(event: KeyboardEvent): string {
  const parts: string[] = [];
  if (event.ctrlKey || event.metaKey) parts.push("Mod");
  if (event.altKey) parts.push("Alt");
  if (event.shiftKey) parts.push("Shift");
  parts.push(event.key === " " ? "Space" : event.key.length === 1 ? event.key.toUpperCase() : event.key);
  return parts.join("+");
}

/** Show keys as this system writes them. */
export function shownKeys(keys: readonly string[] | undefined): string | undefined {
  return keys?.[0]?.replace("Mod", isMac ? "⌘" : "Ctrl").replace("Delete", "Del");
}

/** Say whether somebody is typing there. */
export function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  return target.isContentEditable || target.matches("input:not([type=checkbox]), textarea, select");
}
