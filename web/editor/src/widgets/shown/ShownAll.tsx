/** All that a node shows at once: pictures, two to compare, words with their attention, text, curves. */

import { lazy, Suspense } from "react";
import { fileUrl } from "../../server/api";
import { readAttention } from "../attentionView/heat";
import { ShownText } from "./ShownText";
import { pairs, type Shown } from "./shown";

const Compare = lazy(async () => ({ default: (await import("../imageCompare/Compare")).Compare }));
const AttentionView = lazy(async () => ({
  default: (await import("../attentionView/AttentionView")).AttentionView,
}));

export function ShownAll({ shown: { ui, text, files } }: { shown: Shown }) {
  const pictures = files.filter((file) => file.media.startsWith("image/"));
  const attention = ui === "attention" ? readAttention(text) : null;
  if (attention) {
    return (
      <Suspense fallback={null}>
        <AttentionView said={attention} digests={pictures.map((picture) => picture.digest)} />
      </Suspense>
    );
  }
  if (ui === "compare") {
    return (
      <Suspense fallback={null}>
        {pairs(pictures).map(([before, after]) => (
          <Compare
            key={`${before.digest}${after.digest}`}
            before={{ url: fileUrl(before.digest), label: "Before" }}
            after={{ url: fileUrl(after.digest), label: "After" }}
          />
        ))}
      </Suspense>
    );
  }
  return (
    <>
      {pictures.map((picture) => (
        <img key={picture.digest} src={fileUrl(picture.digest)} alt={picture.name} />
      ))}
      {text && <ShownText kind={ui} text={text} />}
    </>
  );
}
