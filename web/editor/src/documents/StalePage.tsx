/** Says when the server gives out another editor than the one that is open: it was updated meanwhile. */

import { useEffect, useRef, useState } from "react";
import { api } from "../server/api";
import { useRuns } from "../state/runStore";
import { Button } from "../ui/Button";
import styles from "./documents.module.css";

export function StalePage() {
  const isConnected = useRuns((runs) => runs.connection === "open");
  const own = useRef("");
  const [isStale, setStale] = useState(false);
  useEffect(() => {
    if (!isConnected) return;
    api.system().then(
      ({ build }) => {
        own.current ||= build; // the page itself came a moment ago
        setStale(build !== own.current);
      },
      () => {}, // asked again after the next connection
    );
  }, [isConnected]);
  if (!isStale) return null;
  return (
    <div className={styles.banner} role="alert">
      The server has a newer editor than this page. What you changed is saved.
      <Button onClick={() => location.reload()}>Reload</Button>
    </div>
  );
}
