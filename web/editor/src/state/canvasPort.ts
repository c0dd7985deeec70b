/** What commands may ask of the canvas, without knowing how it draws. */

import { create } from "zustand";
import type { Boxes } from "../graph/arrange";
import type { Target } from "../graph/links";
import type { Loose } from "../graph/search";
import type { Link, Point } from "../graph/types";

/** The end of a link that was let go over nothing. */
export interface Pending {
  readonly loose: Loose;
  readonly from:
    | { readonly side: "output"; readonly link: Link }
    | { readonly side: "input"; readonly target: Target };
}

/** Where new things go: a point of the graph, and what is linked to them. */
export interface PaletteRequest {
  readonly at: Point;
  /** The same point in the canvas, in pixels. */
  readonly screen: Point;
  readonly pending: Pending | null;
}

interface CanvasPort {
  /** The boxes of the nodes of the present scope, without frames. */
  readonly boxes: () => Boxes;
  /** Where the pointer was last, in the graph; the middle of the view if it is elsewhere. */
  readonly pointer: () => Point;
  readonly fit: (ids?: readonly string[]) => void;
  readonly zoom: (by: number) => void;
  readonly focus: () => void;
}

interface Canvas {
  readonly port: CanvasPort | null;
  readonly palette: PaletteRequest | null;
  /** Choose a partner for a socket with the keyboard. */
  readonly connecting: string | null;
  /** The subgraph whose ports are edited. */
  readonly ports: string | null;
  readonly openPalette: (request: PaletteRequest | null) => void;
}

export const useCanvas = create<Canvas>((set) => ({
  port: null,
  palette: null,
  connecting: null,
  ports: null,
  openPalette: (palette) => set({ palette }),
}));

/** While a link is drawn: what it looks for, so that sockets that do not fit can step back. */
export const useLoose = create<{ readonly loose: (Loose & { node: string }) | null }>(() => ({
  loose: null,
}));
