/** Painting a mask over the picture that a node works on. */

import { Dialog } from "../../ui/Dialog";
import { useInputFile, usePictureUnder } from "../image/useInputFile";
import type { WidgetProps } from "../types";
import { MaskPainter } from "./MaskPainter";

export function MaskDialog({ value, onChange, label, at, onClose }: WidgetProps & { onClose: () => void }) {
  const picture = usePictureUnder(at);
  const maskDigest = useInputFile(typeof value === "string" ? value : "");
  return (
    <Dialog title={`Paint ${label}`} open onClose={onClose} wide>
      <MaskPainter
        {...{ label, ...picture, maskDigest }}
        onSave={(digest) => {
          onChange(digest);
          onClose();
        }}
        onCancel={onClose}
      />
    </Dialog>
  );
}
