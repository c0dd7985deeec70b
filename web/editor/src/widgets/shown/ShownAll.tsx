/** All that a node shows at once: pictures, two to compare, words with their attention, text, curves. */

import { lazy, Suspense } from "react";
import { fileUrl } from "../../server/api";
import { readAttention } from "../attentionView/heat";
import { ShownText } from "./ShownText";
import type { Shown } from "./shown";

const Compare = lazy(async () => ({ default: (await import("../imageCompare/Compare")).Compare }));
const AttentionView = lazy(async () => ({
  default: (await import("../attentionView/AttentionView")).AttentionView,
}));

export function ShownAll({ shown: { ui, text, files } }: { shown: Shown }) {
  const pictures = files.filter((file) => file.media.startsWith("image/"));
  const [first, second] = pictures;
  if (ui === "compare" && first && second) {
    return (
      <Suspense fallback={null}>
        <Compare
          before={{ url: fileUrl(first.digest), label: "The first" }}
          after={{ url: fileUrl(second.digest), label: "The second" }}
        />
      </Suspense>
    );
  }
  const attention = ui === "attention" ? readAttention(text) : null;
  if (attention) {
    return (
      <Suspense fallback={null}>
        <AttentionView said={attention} digests={pictures.map((picture) => picture.digest)} />
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
