export { Canvas as Workspace } from "../canvas/Canvas";
