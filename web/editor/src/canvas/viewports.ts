import type { Viewport } from "@xyflow/react";

/** Where people were in each graph, by document and subgraph: coming back shows the same place. For this page only. */
export const viewports = new Map<string, Viewport>();
