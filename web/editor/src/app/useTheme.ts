import { useEffect } from "react";
import { useView } from "../state/viewStore";

/** Put the chosen theme on the page; without a choice the system's holds. */
export function useTheme(): void {
  const theme = useView((view) => view.theme);
  useEffect(() => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  }, [theme]);
}
