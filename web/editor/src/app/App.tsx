import { useEffect } from "react";
import { formViews, services } from "../panels/registry";
import { DocumentContext, useTabs } from "../state/tabs";
import { useView } from "../state/viewStore";
import { TooltipProvider } from "../ui/Tooltip";
import css from "./App.module.css";
import { BottomDock, LeftDock, RightDock } from "./Docks";
import { LiveRegion } from "./LiveRegion";
import { StatusBar } from "./StatusBar";
import { start } from "./start";
import { TopBar } from "./TopBar";
import { useKeys } from "./useKeys";
import { useTheme } from "./useTheme";
import { Workspace } from "./Workspace";

/** The page: bar, docks around the canvas (or the form), status. */
export function App() {
  useTheme();
  useKeys();
  useEffect(start, []);
  const active = useTabs((tabs) => tabs.active);
  const mode = useView((view) => view.mode);
  const Form = mode === "form" ? formViews[0] : undefined;
  return (
    <TooltipProvider>
      <div className={css.page}>
        {active ? (
          <DocumentContext value={active} key={active.getState().key}>
            <TopBar />
            <div className={css.middle}>
              <LeftDock />
              <main className={css.main}>
                <div className={css.work}>{Form ? <Form /> : <Workspace />}</div>
                <BottomDock />
              </main>
              {!Form && <RightDock />}
            </div>
            <StatusBar />
            {services.map((Service, place) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: a fixed list
              <Service key={place} />
            ))}
          </DocumentContext>
        ) : (
          <p className={css.loading}>Opening…</p>
        )}
        <LiveRegion />
      </div>
    </TooltipProvider>
  );
}
