/** The socket: durable events in order and without gaps over any number of reconnects, frames as they come. */

import { type Frame, type JobEvent, zFrame, zSocketMessage } from "./messages";

const RETRY_MS = [500, 1000, 2000, 5000, 10_000];

export type Connection = "connecting" | "open" | "lost";

export interface Listener {
  onConnection: (connection: Connection) => void;
  onEvents: (events: readonly JobEvent[]) => void;
  onFrame: (frame: Frame) => void;
  onPreview: (frame: Frame, picture: Blob) => void;
  /** The server knows fewer events than we have seen: it began anew, what we know of runs is void. */
  onReset: () => void;
}

/** Listen until the returned function is called; `since` is the last event that is known already. */
export function listen(listener: Listener, since: number): () => void {
  let seq = since;
  let tries = 0;
  let closed = false;
  let socket: WebSocket | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const open = () => {
    listener.onConnection("connecting");
    const url = new URL("/ws", location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
      if (typeof data === "string") hear(data);
      else see(data);
    };
    socket.onclose = () => {
      if (closed) return;
      listener.onConnection("lost");
      timer = setTimeout(open, RETRY_MS[Math.min(tries, RETRY_MS.length - 1)]);
      tries += 1;
    };
  };

  const hear = (text: string) => {
    const message = zSocketMessage.safeParse(JSON.parse(text)).data;
    if (message?.type === "hello") {
      tries = 0;
      if (message.seq < seq) {
        seq = message.seq;
        listener.onReset();
      }
      socket?.send(JSON.stringify({ type: "subscribe", since: seq, job: null }));
      listener.onConnection("open");
    } else if (message?.type === "events") {
      seq = message.events.at(-1)?.seq ?? seq;
      listener.onEvents(message.events);
    } else if (message?.type === "frame") listener.onFrame(message.frame);
  };

  const see = (data: ArrayBuffer) => {
    const size = new DataView(data).getUint32(0);
    const head = zFrame.parse(JSON.parse(new TextDecoder().decode(data.slice(4, 4 + size))));
    const type = typeof head.media === "string" ? head.media : "image/jpeg";
    listener.onPreview(head, new Blob([data.slice(4 + size)], { type }));
  };

  open();
  return () => {
    closed = true;
    clearTimeout(timer);
    socket?.close();
  };
}
