import { useEffect } from "react";
import { performKeys } from "../commands/registry";

/** Let the keys of all actions work anywhere on the page. */
export function useKeys(): void {
  useEffect(() => {
    const onKeyDown = (event: KeyboardEvent) => void performKeys(event);
    window.addEventListener("keydown", onKeyDown);
    return () => window.removeEventListener("keydown", onKeyDown);
  }, []);
}
