import { Fragment, useEffect } from "react";
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

/** The page: bar, docks around the canvas (or the form), status. Only the left dock stays as it is from tab to tab. */
export function App() {
  useTheme();
  useKeys();
  useEffect(start, []);
  const active = useTabs((tabs) => tabs.active);
  const mode = useView((view) => view.mode);
  const key = active?.getState().key;
  const Form = mode === "form" ? formViews[0] : undefined;
  return (
    <TooltipProvider>
      <div className={css.page}>
        {active ? (
          <DocumentContext value={active}>
            <TopBar key={key} />
            <div className={css.middle}>
              <LeftDock />
              <main className={css.main} key={key}>
                <div className={css.work}>{Form ? <Form /> : <Workspace />}</div>
                <BottomDock />
              </main>
              {!Form && <RightDock key={`dock ${key}`} />}
            </div>
            <Fragment key={`below ${key}`}>
              <StatusBar />
              {services.map((Service, place) => (
                // biome-ignore lint/suspicious/noArrayIndexKey: a fixed list
                <Service key={place} />
              ))}
            </Fragment>
          </DocumentContext>
        ) : (
          <p className={css.loading}>Opening…</p>
        )}
        <LiveRegion />
      </div>
    </TooltipProvider>
  );
}
