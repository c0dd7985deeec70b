import { X } from "lucide-react";
import { Suspense } from "react";
import { bottomPanels, leftPanels, type Panel, rightPanels } from "../panels/registry";
import { useView } from "../state/viewStore";
import { Button, IconButton } from "../ui/Button";
import css from "./App.module.css";

export function LeftDock() {
  const open = useView((view) => view.leftPanel);
  const set = useView((view) => view.set);
  const panel = leftPanels.find((one) => one.id === open);
  if (!leftPanels.length) return null;
  return (
    <>
      <nav className={css.rail} aria-label="Panels">
        {leftPanels.map(({ id, title, icon: Icon }) => (
          <IconButton
            key={id}
            label={title}
            aria-pressed={id === open}
            onClick={() => set({ leftPanel: id === open ? null : id })}
          >
            <Icon size={18} />
          </IconButton>
        ))}
      </nav>
      {panel && (
        <section className={css.dock} aria-label={panel.title}>
          <div className={css.dockHead}>
            <h2>{panel.title}</h2>
            <IconButton label={`Close ${panel.title.toLowerCase()}`} onClick={() => set({ leftPanel: null })}>
              <X size={16} />
            </IconButton>
          </div>
          <Content panel={panel} />
        </section>
      )}
    </>
  );
}

export function RightDock() {
  const open = useView((view) => view.rightPanel);
  const set = useView((view) => view.set);
  const panel = rightPanels.find((one) => one.id === open);
  if (!panel) return null;
  return (
    <section className={`${css.dock} ${css.dockRight}`} aria-label={panel.title}>
      <div className={css.dockHead}>
        <div className={css.rightTabs}>
          {rightPanels.map(({ id, title }) => (
            <Button key={id} look="plain" aria-pressed={id === open} onClick={() => set({ rightPanel: id })}>
              {title}
            </Button>
          ))}
        </div>
        <IconButton label={`Close ${panel.title.toLowerCase()}`} onClick={() => set({ rightPanel: null })}>
          <X size={16} />
        </IconButton>
      </div>
      <Content panel={panel} />
    </section>
  );
}

export function BottomDock() {
  return bottomPanels.map((Part, place) => (
    <Suspense
      // biome-ignore lint/suspicious/noArrayIndexKey: a fixed list
      key={place}
    >
      <Part />
    </Suspense>
  ));
}

function Content({ panel }: { panel: Panel }) {
  const Part = panel.component;
  return (
    <div className={css.dockBody}>
      <Suspense fallback={null}>
        <Part />
      </Suspense>
    </div>
  );
}
