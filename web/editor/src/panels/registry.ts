/** Everything that stands around the canvas. A new panel is a file and a line here. */

import {
  CircleAlert,
  FolderOpen,
  Images,
  LayoutGrid,
  ListOrdered,
  type LucideIcon,
  SlidersHorizontal,
} from "lucide-react";
import { type ComponentType, lazy } from "react";
import { DropTarget } from "../documents/DropTarget";
import { FilesPanel } from "../documents/FilesPanel";
import { ImportedDialog } from "../documents/ImportedDialog";
import { OwnTab } from "../documents/OwnTab";
import { SaveStatus } from "../documents/SaveStatus";
import { StalePage } from "../documents/StalePage";
import { FormSwitch } from "../form/FormSwitch";
import { Autosave } from "../state/autosave";
import { GalleryPanel } from "./gallery/GalleryPanel";
import { Hints } from "./hints/Hints";
import { InspectorPanel } from "./inspector/InspectorPanel";
import { ProblemCount } from "./problems/ProblemCount";
import { ProblemKeys } from "./problems/ProblemKeys";
import { ProblemsPanel } from "./problems/ProblemsPanel";
import { QueueCount } from "./queue/QueueCount";
import { QueuePanel } from "./queue/QueuePanel";
import { ResultsPanel } from "./results/ResultsPanel";
import { ResultsStrip } from "./results/ResultsStrip";
import { Viewer } from "./results/Viewer";
import { RunOptions } from "./run/RunOptions";

export interface Panel {
  id: string;
  title: string;
  icon: LucideIcon;
  /** May be `lazy(...)`; the dock waits for it. */
  component: ComponentType;
}

/** Opened from the left rail; one at a time. */
export const leftPanels: readonly Panel[] = [
  { id: "gallery", title: "Gallery", icon: LayoutGrid, component: GalleryPanel },
  { id: "files", title: "Workflows", icon: FolderOpen, component: FilesPanel },
  { id: "results", title: "Results", icon: Images, component: ResultsPanel },
  { id: "queue", title: "Queue", icon: ListOrdered, component: QueuePanel },
];

/** Tabs of the right dock. */
export const rightPanels: readonly Panel[] = [
  { id: "inspector", title: "Inspector", icon: SlidersHorizontal, component: InspectorPanel },
  { id: "problems", title: "Problems", icon: CircleAlert, component: ProblemsPanel },
];

/** Under the canvas, e.g. the strip with the newest pictures. */
export const bottomPanels: readonly ComponentType[] = [Hints, ResultsStrip];

/** What stands in the status bar, left to right. */
export const statusItems: readonly ComponentType[] = [SaveStatus, QueueCount, ProblemCount];

/** What stands in the top bar, right of the tabs and left of Run. */
export const barItems: readonly ComponentType[] = [FormSwitch, RunOptions];

/** Instead of the canvas while the view's mode is `form`; empty while there is none. */
export const formViews: readonly ComponentType[] = [
  lazy(async () => ({ default: (await import("../form/FormView")).FormView })),
];

/** Things without a place of their own: dialogs, autosave, drop targets. Rendered once, inside the active document. */
export const services: readonly ComponentType[] = [
  Autosave,
  OwnTab,
  StalePage,
  DropTarget,
  ImportedDialog,
  ProblemKeys,
  Viewer,
];
