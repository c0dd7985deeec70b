/** Everything that stands around the canvas. A new panel is a file and a line here. */

import type { LucideIcon } from "lucide-react";
import type { ComponentType } from "react";

export interface Panel {
  id: string;
  title: string;
  icon: LucideIcon;
  /** May be `lazy(...)`; the dock waits for it. */
  component: ComponentType;
}

/** Opened from the left rail; one at a time. */
export const leftPanels: readonly Panel[] = [];

/** Tabs of the right dock. */
export const rightPanels: readonly Panel[] = [];

/** Under the canvas, e.g. the strip with the newest pictures. */
export const bottomPanels: readonly ComponentType[] = [];

/** What stands in the status bar, left to right. */
export const statusItems: readonly ComponentType[] = [];

/** What stands in the top bar, right of the tabs and left of Run. */
export const barItems: readonly ComponentType[] = [];

/** Instead of the canvas while the view's mode is `form`; empty while there is none. */
export const formViews: readonly ComponentType[] = [];

/** Things without a place of their own: dialogs, autosave, drop targets. Rendered once, inside the active document. */
export const services: readonly ComponentType[] = [];
