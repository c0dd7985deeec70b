/** Painting a mask over the picture that a node works on. */

import { useCatalogue } from "../../state/catalogueStore";
import { useDocument } from "../../state/tabs";
import { Dialog } from "../../ui/Dialog";
import { pictureUnder } from "../image/under";
import { useInputFile } from "../image/useInputFile";
import type { WidgetProps } from "../types";
import { MaskPainter } from "./MaskPainter";

export function MaskDialog({ value, onChange, label, at, onClose }: WidgetProps & { onClose: () => void }) {
  const catalogue = useCatalogue((state) => state.nodes);
  const under =
    useDocument((d) => (at ? pictureUnder(d.workflow, catalogue, at.scope, at.node) : null)) ?? "";
  const underDigest = useInputFile(under);
  const maskDigest = useInputFile(typeof value === "string" ? value : "");
  return (
    <Dialog title={`Paint ${label}`} open onClose={onClose} wide>
      <MaskPainter
        {...{ label, under, underDigest, maskDigest }}
        onSave={(digest) => {
          onChange(digest);
          onClose();
        }}
        onCancel={onClose}
      />
    </Dialog>
  );
}
