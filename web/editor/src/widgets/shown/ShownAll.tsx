/** All that a node shows at once: pictures, two to compare, words with their attention, text, curves. */

import { lazy, Suspense } from "react";
import { fileUrl } from "../../server/api";
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
  if (ui === "attention" && first) {
    // The picture, then a map for each line of the text.
    const words = text.split("\n");
    const maps = pictures
      .slice(1)
      .map((map, place) => ({ word: words[place] ?? "", url: fileUrl(map.digest) }));
    return (
      <Suspense fallback={null}>
        <AttentionView picture={fileUrl(first.digest)} maps={maps} />
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
