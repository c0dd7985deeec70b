import { createContext } from "react";

/** Below this zoom a node is its title and a link is only a line: text would be under 5 px. */
export const FAR = 0.35;

/** Below this zoom titles would be under 5 px as well: a node is a box. */
export const TINY = 0.14;

/** Whether the view is that far away: asked once for the canvas, not by each node at each step of a pan. */
export const FarContext = createContext(false);
