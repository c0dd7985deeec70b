import { Handle, Position } from "@xyflow/react";
import { fits, said } from "../graph/links";
import type { Socket } from "../graph/size";
import { useLoose } from "../state/canvasPort";
import css from "./canvas.module.css";
import { HIT } from "./flow";
import { colorOf, shapeOfType } from "./typeLook";

const PATHS = {
  circle: "M12 6.5a5.5 5.5 0 1 1 0 11a5.5 5.5 0 1 1 0-11Z",
  square:
    "M8.5 7h7a1.5 1.5 0 0 1 1.5 1.5v7a1.5 1.5 0 0 1-1.5 1.5h-7a1.5 1.5 0 0 1-1.5-1.5v-7a1.5 1.5 0 0 1 1.5-1.5Z",
  diamond: "M12 5.2 18.8 12 12 18.8 5.2 12Z",
};

interface Props {
  node: string;
  socket: Socket;
  linked: boolean;
  /** It stands before a control, which mostly is what people use. */
  minor: boolean;
}

/** A socket: 24 px to hit, a smaller mark to see. Open = nothing linked; double line = a list; dashed = optional. */
export function SocketView({ node, socket, linked, minor }: Props) {
  const isInput = socket.side === "input";
  const steps = useLoose(({ loose }) => {
    if (!loose) return false;
    if (loose.node === node || (loose.from === "output") !== isInput) return true;
    return isInput ? !fits(socket.type, loose.type) : !fits(loose.type, socket.type);
  });
  const color = colorOf(socket.type);
  return (
    <Handle
      id={`${isInput ? "i" : "o"}:${socket.name}`}
      type={isInput ? "target" : "source"}
      position={isInput ? Position.Left : Position.Right}
      className={css.socket}
      data-dim={steps}
      data-minor={minor && !linked}
      title={`${socket.name}: ${said(socket.type)}${socket.list ? " (list)" : ""}${socket.optional ? ", optional" : ""}`}
      style={{ left: socket.x - HIT / 2, top: socket.y - HIT / 2, width: HIT, height: HIT }}
    >
      <svg width={HIT} height={HIT} viewBox="0 0 24 24" aria-hidden="true">
        {socket.list && <circle cx={12} cy={12} r={9} fill="none" stroke={color} strokeWidth={1.5} />}
        <path
          d={PATHS[shapeOfType(socket.type)]}
          fill={linked ? color : "var(--surface)"}
          stroke={color}
          strokeWidth={2}
          strokeDasharray={socket.optional && !linked ? "3 2" : undefined}
        />
      </svg>
    </Handle>
  );
}
